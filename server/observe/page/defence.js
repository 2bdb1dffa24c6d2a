// Whom the defence left out and what it went by; the groups of a masked round.

import { figure, nothing } from "./charts.js";
import { byId, count, el, known, memo, number, plural, show, table } from "./dom.js";
import { reason, stage, STAGE_NAMES } from "./words.js";

const SHOWN = 12;
const OFTEN = 20;

// Rules whose scores are in units of their limit: from 1 on, an update is suspect.
const LIMITED = ["centered-clipping", "default", "fltrust", "foolsgold"];

const scores = figure({ kind: "bars", name: "Scores" });

export const defence = memo((found, quarantined) => {
  const box = byId("defence-parts"), vouched = Object.entries(found?.vouched ?? {});
  const held = Object.entries(quarantined ?? {});
  const often = Object.entries(found?.excluded ?? {})
    .map(([name, by]) => ({ name, by, n: Object.values(by).reduce((a, b) => a + b, 0) })).sort((a, b) => b.n - a.n);
  const rule = !found || found.rule === "none" ? "No defence is set: every well-formed update counts."
    : found.judged ? `Rule ${found.rule}, against up to ${found.tolerated} of ${plural(found.judged, "row")} in round ${found.round}.`
      : `Rule ${found.rule}; no round was judged yet.`;
  const parts = [el("div", null, el("p", null, rule), often.length ? el("div", { class: "numbers" }, excluded(often))
    : nothing("Nobody was left out for anything of its own."), held.length ? el("div", { class: "numbers" }, back(held)) : null,
    vouched.length ? el("p", { class: "note" }, `Vouched for, and spared: ${
      vouched.map(([name, why]) => why ? `${name} (${why})` : name).join(", ")}.`) : null)];
  const rows = Object.entries(found?.scores ?? {}).filter(([, value]) => known(value)).map(([name, value]) => {
    const verdict = found.verdicts.find((v) => v.client === name)?.reason;
    return { name, value, out: Boolean(verdict), note: verdict ? `left out: ${reason(verdict)}` : "counts" };
  }).sort((a, b) => b.value - a.value);
  if (rows.length) parts.push(scores.node);
  box.replaceChildren(...parts);
  if (rows.length) {
    const of = (key) => rows.map((row) => row[key]), limited = LIMITED.includes(found.rule);
    scores.set({ x: of("name"), series: [{ name: "score", values: of("value") }], out: of("out"), notes: of("note"),
      shown: [...rows.keys()].slice(0, SHOWN), limit: limited ? 1 : null },
    `Scores of round ${found.round}, largest first; ✕ left out${limited ? "; the line: the limit" : ""}${
      rows.length > SHOWN ? ` (${SHOWN} of ${rows.length})` : ""}`);
  }
});

const back = (held) => [table("Held back: not asked any more", [
  { name: "Client", of: ([name]) => name },
  { name: "Why", of: ([, why]) => reason(why) },
], held), el("p", { class: "note" }, "Let one back in: ", el("code", null, "roughfed release NAME"))];

function excluded(often) {
  const rest = often.length - OFTEN;
  const part = table("Left out most often, over the whole run", [
    { name: "Client", of: (row) => row.name },
    { name: "Rounds", numeric: true, of: (row) => count(row.n) },
    { name: "Why", of: (row) => Object.entries(row.by).map(([word, n]) => `${reason(word)} (${n})`).join("; ") },
  ], often.slice(0, OFTEN));
  return rest > 0 ? el("div", null, part, el("p", { class: "note" }, `and ${plural(rest, "client")} more`)) : part;
}

// Of the open round, else of the last one.
export const groups = memo((open, last, round) => {
  const now = open?.length ? open : last ?? [];
  show(byId("groups"), now.length > 0);
  if (!now.length) return;
  byId("groups-title").textContent = `Groups of the masked round ${round}${open?.length ? ", open" : ""}`;
  byId("group-list").replaceChildren(
    el("p", { class: "note" }, "The server learns one sum of each group, and no update of a single client."),
    el("ul", { class: "group-list numbers" }, now.map((group, at) => el("li", { class: "group" },
      el("h3", null, `Group ${at + 1}: ${plural(group.members.length, "client")}`),
      group.stage ? steps(group.stage) : null,
      el("p", null, group.stage ? stage(group.stage) : group.void ? `✕ no sum: ${reason(group.void)}` : "● its sum counts"),
      el("details", { class: "numbers" }, el("summary", null, "Members"), el("p", null, group.members.join(", ")))))));
});

function steps(now) {
  const at = STAGE_NAMES.indexOf(now);
  return el("ol", { class: "steps", role: "img", "aria-label": `step ${at + 1} of ${STAGE_NAMES.length}: ${stage(now)}` },
    STAGE_NAMES.map((name, i) => el("li", { class: i < at ? "past" : i === at ? "here" : null, title: stage(name) })));
}
