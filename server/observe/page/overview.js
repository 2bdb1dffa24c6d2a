// The top of the page: what goes on, what is wrong, and the figures that say whether it goes well.

import { byId, count, el, known, memo, percent, plural, points, say, show, size, time, when } from "./dom.js";
import { reason, seen, stage } from "./words.js";

const SEVERITY = { critical: ["✖", "critical"], warning: ["▲", "warning"], info: ["●", "note"] };
const PHASES = {
  waiting: "Between two rounds", configure: "The round is prepared", report: "Clients train and upload",
  unmask: "The sum is unmasked", aggregate: "The updates are combined", evaluate: "The model is evaluated",
  commit: "The model is committed", paused: "Paused: no new round is opened",
};

const ENDS = {
  rounds: "all its rounds are played", "time-budget": "its time is over", "early-stop": "the model got no better",
};
const upper = (text) => text.charAt(0).toUpperCase() + text.slice(1);

// What the server does, in words.
export function doing(status) {
  if (status.finished) return `The run is over: ${ENDS[status.finished] ?? status.finished}`;
  if (status.waiting) return upper(status.waiting);
  if (status.stage && ["report", "unmask"].includes(status.phase)) return upper(stage(status.stage));
  return PHASES[status.phase] ?? status.phase;
}

// Rounds that were abandoned are played again: the last one has a higher number than there are rounds.
const lastOf = (status) => status.last_round ?? status.rounds;

// `since`: seconds since this status arrived.
export function header(status, since) {
  say(byId("federation"), status.federation);
  say(byId("phase"), doing(status));
  show(byId("paused"), status.paused);
  const parts = [`round ${count(status.round)} of ${count(lastOf(status))}`];
  if (status.needed) {
    const came = status.clients.filter((c) => c.in_cohort && c.state === "received").length;
    parts.push(`${came} of ${status.needed.goal} updates (quorum ${status.needed.quorum})`);
  }
  if (known(status.round_seconds)) parts.push(time(Math.floor(status.round_seconds + since)));
  if (known(status.deadline_at)) {
    const left = status.deadline_at - Date.now() / 1000;
    if (left > 0) parts.push(`at most ${time(Math.ceil(left))} more`);
  }
  say(byId("round"), parts.join(" · "));
  const bar = byId("run-bar");
  show(bar, true);
  bar.max = Math.max(1, lastOf(status));
  bar.value = Math.max(0, status.round - (known(status.round_seconds) ? 1 : 0));
  say(byId("run"), `Run ${status.run}, up ${time(Math.floor(status.uptime_s + since))} · model version ${
    count(status.model_version)} · the server sees ${seen(status.server_sees)}${above(status.upstream)}`);
}

// Of an edge: the round of the federation above that its sum is for.
function above(upstream) {
  if (!upstream) return "";
  if (!upstream.run) return " · an edge, nothing is asked for yet";
  return ` · an edge of ${upstream.run}, round ${count(upstream.round)} of ${count(upstream.rounds)}`;
}

// What the tab is called: the state first, tabs are narrow.
export function title(status, state) {
  if (state === "locked") return "Token needed · roughfed";
  if (!status) return "Connecting · roughfed";
  const wrong = status.alerts?.length ? `(${status.alerts.length}) ` : "";
  const what = state === "ended" ? "Ended" : state !== "live" ? "Not connected"
    : status.finished ? "Finished" : status.paused ? "Paused" : status.waiting ? "Waiting" : status.phase;
  return `${wrong}${what} · round ${status.round}/${lastOf(status)} · ${status.federation} · roughfed`;
}

// Said aloud when it changes: phases and alerts, not seconds.
export function spoken(status) {
  const wrong = status.alerts?.length ? ` ${plural(status.alerts.length, "alert")}: ${status.alerts.map((a) => a.text)
    .join(" ")}` : "";
  return `Round ${status.round}: ${doing(status)}.${wrong}`;
}

const drawAlerts = memo((alerts) => {
  const list = byId("alert-list");
  if (!alerts) list.replaceChildren(el("p", { class: "quiet" }, "This server does not judge its health."));
  else if (!alerts.length) list.replaceChildren(el("p", { class: "fine" }, el("span", { "aria-hidden": "true" }, "✔"),
    "Nothing is wrong."));
  else list.replaceChildren(el("ul", { class: "alerts" }, alerts.map(alert)));
});

function alert(found) {
  const [mark, word] = SEVERITY[found.severity] ?? SEVERITY.info;
  return el("li", { class: `alert ${found.severity in SEVERITY ? found.severity : "info"}` },
    el("span", { class: "mark" }, el("span", { "aria-hidden": "true" }, `${mark} `), word),
    el("span", { class: "text" }, found.text),
    el("span", { class: "since" }, `since ${when(found.since)}`),
    found.cure ? el("span", { class: "cure" }, found.cure) : null);
}

export const alerts = (status) => drawAlerts(status.alerts ?? null, status.alerts);

// The figures, each with what it is compared to.
export function figures(status, rounds) {
  const list = byId("figure-list"), tiles = tilesOf(status, rounds);
  while (list.children.length > tiles.length) list.lastChild.remove();
  tiles.forEach(([name, value, note], at) => {
    const tile = list.children[at] ?? list.appendChild(el("div", { class: "tile" }, el("dt"), el("dd"),
      el("dd", { class: "note" })));
    [name, value, note].forEach((text, i) => say(tile.children[i], text));
  });
}

function tilesOf(status, rounds) {
  const last = rounds[rounds.length - 1], before = rounds.findLast((r) => r !== last && known(r.accuracy));
  const by = status.measured_by === "clients" ? "on the clients' data together" : "on the server's data";
  const gain = last && before && known(last.accuracy) ? points(last.accuracy - before.accuracy) : "";
  const tail = rounds.findLast((r) => known(r.tail_accuracy))?.tail_accuracy;
  const connected = status.clients.filter((c) => c.connected).length;
  const held = Object.keys(status.quarantined ?? {}).length;
  const tiles = [];
  if (known(status.accuracy)) {
    tiles.push(["Accuracy", percent(status.accuracy), gain && gain !== "unchanged" ? `${gain} since round ${before.round}` : by]);
    tiles.push(["Balanced accuracy", percent(status.balanced_accuracy), "mean over the classes"]);
    if (known(tail)) tiles.push(["Tail accuracy", percent(tail), "classes with fewest examples"]);
    tiles.push(["Worst class", percent(status.worst_class_accuracy), by]);
  } else if (known(status.loss)) {
    tiles.push(["Loss", String(Number(status.loss.toPrecision(4))), by]);
  } else {
    tiles.push(["Accuracy", "–", "nobody measured yet"]);
  }
  tiles.push(["Connected", `${count(connected)} / ${count(status.clients.length)}`,
    held ? `${plural(held, "client")} held back` : `clients; ${count(status.min_clients)} open a round`]);
  if (last) {
    const out = last.counts.excluded + last.counts.dropped;
    tiles.push(["In the last sum", `${count(last.counts.accepted)} / ${count(last.counts.participants)}`,
      out ? `${last.counts.excluded} left out, ${last.counts.dropped} lost` : "everybody asked"]);
    tiles.push(["Last round", time(last.seconds), last.outcome === "committed" ? "committed"
      : `${last.outcome}: ${reason(last.why || "")}`]);
    const each = Math.max(1, last.counts.participants);
    tiles.push(["Bytes a client", size(last.upload_bytes / each), `up; ${size(last.download_bytes / each)} down`]);
  }
  return tiles;
}
