// Where the time and the bytes of the rounds go.

import { figure, nothing } from "./charts.js";
import { byId, el, memo, size, table, time } from "./dom.js";

// The engine's phases, in order, with their colours.
const PHASES = [
  ["configure", 5], ["report", 0], ["unmask", 4], ["aggregate", 2], ["commit", 1], ["evaluate", 3], ["waiting", 9],
];
const WORDS = {
  configure: "configure: chosen and told", report: "report: train and upload", unmask: "unmask: the sum is opened",
  aggregate: "aggregate: combined", commit: "commit: written", evaluate: "evaluate: measured", waiting: "waiting",
};
const COLOURS = Object.fromEntries(PHASES);
const SHOWN = 10;

const phases = figure({ kind: "bars", name: "Seconds by phase, newest round first", format: "seconds" });
const bytes = figure({ kind: "columns", name: "Bytes by round, all clients", format: "size" });
const codecs = el("div");
const cost = el("div", null, bytes.node, codecs);

// The open round, as far as it has come; `since`: seconds since the status arrived.
function open(status, since) {
  if (!status || status.round_seconds === null || status.finished) return [];
  const seconds = { ...status.phase_seconds };
  delete seconds.waiting;
  if (status.phase in seconds) seconds[status.phase] += since;
  return [{ name: `now ${status.round}`, seconds, live: true }];
}

export function timing(status, rounds, since) {
  const over = rounds.slice(-SHOWN).reverse().map((r) => ({ name: `round ${r.round}`, seconds: r.phase_seconds ?? {} }));
  const rows = [...open(status, since), ...over].filter((row) => Object.values(row.seconds).some((value) => value > 0));
  const box = byId("round-parts");
  if (!rows.length) {
    if (box.firstElementChild?.tagName !== "P") box.replaceChildren(nothing("No round was opened yet."));
    return;
  }
  if (box.firstElementChild !== phases.node) box.replaceChildren(phases.node, cost);
  const names = new Set([...PHASES.map(([name]) => name), ...rows.flatMap((row) => Object.keys(row.seconds))]);
  const series = [...names].map((name) => ({ name, words: WORDS[name] ?? name, colour: COLOURS[name] ?? 7,
    values: rows.map((row) => row.seconds[name] ?? 0) })).filter((each) => each.values.some((value) => value > 0));
  const ends = rows.map((row) => row.live ? `${time(Object.values(row.seconds).reduce((a, b) => a + b, 0))} …` : null);
  phases.set({ x: rows.map((row) => row.name), series, ends });
}

export const traffic = memo((head, rounds) => {
  if (!rounds.length) return;
  bytes.set({
    x: rounds.map((r) => r.round),
    series: [
      { name: "up", colour: 0, values: rounds.map((r) => r.upload_bytes) },
      { name: "down", colour: 1, values: rounds.map((r) => r.download_bytes) },
    ],
  });
  const rows = (head?.transfer ?? []).filter((row) => row.bytes > 0).sort((a, b) => b.bytes - a.bytes);
  codecs.replaceChildren(rows.length ? table("Bytes by codec, since this server started", [
    { name: "Codec", of: (row) => row.codec },
    { name: "Direction", of: (row) => row.direction === "up" ? "▲ up: updates" : "▼ down: models" },
    { name: "Bytes", numeric: true, of: (row) => size(row.bytes) },
  ], rows) : "");
});
