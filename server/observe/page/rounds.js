// Where the time and the bytes of the rounds go.

import { columns, figure, legendOf, nothing, seriesTable, timeline } from "./charts.js";
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

const legend = el("div");
const phases = figure("Seconds by phase, newest round first", timeline("Phases", { format: time }), (rows) =>
  table("Seconds by phase", [
    { name: "Round", of: (row) => row.name },
    ...PHASES.filter(([name]) => rows.some((r) => r.parts.some((p) => p.name === name))).map(([name]) => ({
      name, numeric: true, of: (row) => time(row.parts.find((p) => p.name === name)?.value),
    })),
  ], rows, { hidden: true }), { below: legend });
const bytes = figure("Bytes by round, all clients", columns("Bytes", { format: size, bytes: true }), seriesTable("Bytes", size));
const codecs = el("div");
const cost = el("div", null, bytes.node, codecs);

function parts(seconds) {
  const order = (name) => { const at = PHASES.findIndex(([n]) => n === name); return at < 0 ? PHASES.length : at; };
  return Object.entries(seconds ?? {}).filter(([, value]) => value > 0)
    .sort(([a], [b]) => order(a) - order(b))
    .map(([name, value]) => ({ name, colour: COLOURS[name] ?? 7, value }));
}

// The open round, as far as it has come; `since`: seconds since the status arrived.
function open(status, since) {
  if (!status || status.round_seconds === null || status.finished) return [];
  const seconds = { ...status.phase_seconds };
  delete seconds.waiting;
  if (status.phase in seconds) seconds[status.phase] += since;
  const found = parts(seconds);
  return found.length ? [{ name: `now ${status.round}`, parts: found, live: true }] : [];
}

const drawLegend = memo((names) => {
  legend.replaceChildren(legendOf(names.map((name) => ({ name: WORDS[name] ?? name, colour: COLOURS[name] ?? 7 }))).node);
});

export function timing(status, rounds, since) {
  const over = rounds.slice(-SHOWN).reverse().map((r) => ({ name: `round ${r.round}`, parts: parts(r.phase_seconds) }))
    .filter((r) => r.parts.length);
  const rows = [...open(status, since), ...over];
  const box = byId("round-parts");
  if (!rows.length) {
    if (box.firstElementChild?.tagName !== "P") box.replaceChildren(nothing("No round was opened yet."));
    return;
  }
  if (box.firstElementChild !== phases.node) box.replaceChildren(phases.node, cost);
  phases.set(rows);
  const names = PHASES.map(([name]) => name).filter((name) => rows.some((r) => r.parts.some((p) => p.name === name)));
  drawLegend(names, names);
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
