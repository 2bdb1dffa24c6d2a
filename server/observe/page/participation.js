// Who took part in which round: counts for all rounds, and a matrix of clients and the last rounds.

import { figure, nothing } from "./charts.js";
import { byId, count, el, memo, plural, table } from "./dom.js";
import { reason } from "./words.js";

const LAST = 40; // rounds of the matrix
const EACH = 50; // clients that it shows at first, and more at a time

// What became of a client in a round: the mark says it without the colour.
const MARKS = {
  accepted: ["●", "in the sum"], excluded: ["✕", "left out"], dropped: ["◌", "lost: no update came"],
  unused: ["–", "asked, not used"], absent: ["·", "not asked"],
};

const counts = figure({ kind: "columns", name: "Clients by round", format: "count" });
const why = el("div");

export const participation = memo((rounds) => {
  const box = byId("participation-parts");
  if (!rounds.length) {
    box.replaceChildren(nothing("No round is over yet."));
    return;
  }
  if (box.firstElementChild !== counts.node) box.replaceChildren(counts.node, why);
  const of = (name) => rounds.map((r) => r.counts[name]);
  counts.set({
    x: rounds.map((r) => r.round),
    series: [
      { name: "in the sum", colour: 0, values: of("accepted") },
      { name: "left out", colour: 1, values: of("excluded") },
      { name: "lost", colour: 9, values: of("dropped") },
    ],
  });
  why.replaceChildren(reasons(rounds));
});

function reasons(rounds) {
  const sums = new Map();
  for (const round of rounds) {
    for (const [word, n] of Object.entries(round.reasons)) {
      const row = sums.get(word) ?? { word, n: 0, last: 0 };
      sums.set(word, { word, n: row.n + n, last: round.round });
    }
  }
  const lost = rounds.reduce((a, r) => a + r.counts.dropped, 0);
  const rows = [...sums.values()].sort((a, b) => b.n - a.n);
  if (lost) rows.push({ word: "no update came in time", n: lost, last: rounds.findLast((r) => r.counts.dropped).round });
  if (!rows.length) return nothing("Nobody was left out or lost in any round.");
  return table("Why updates are not in a sum, over the whole run", [
    { name: "Reason", of: (row) => reason(row.word) },
    { name: "Updates", numeric: true, of: (row) => count(row.n) },
    { name: "Last in round", numeric: true, of: (row) => String(row.last) },
  ], rows);
}

// -- the matrix -------------------------------------------------------------------------------------------------------

let shown = EACH, rows = [], columns_ = [];
const filter = el("input", { id: "matrix-filter", type: "search", autocomplete: "off", spellcheck: "false",
  on: { input: () => { shown = EACH; draw(); } } });
const order = el("select", { id: "matrix-order", on: { change: () => draw() } },
  el("option", { value: "trouble" }, "most trouble first"), el("option", { value: "name" }, "by name"));
const grid = el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Participation by client and round" });
const more = el("button", { type: "button", on: { click: () => { shown += EACH; draw(); } } });
const said = el("span", { class: "quiet", role: "status" });
const whole = el("div", { class: "matrix" },
  el("h3", null, "Clients and the last rounds"),
  el("div", { class: "tools" },
    el("div", null, el("label", { for: "matrix-filter" }, "Find a client"), filter),
    el("div", null, el("label", { for: "matrix-order" }, "Order"), order)),
  grid,
  el("ul", { class: "marks" }, Object.entries(MARKS).map(([name, [mark, words]]) =>
    el("li", null, el("b", { class: name, "aria-hidden": "true" }, mark), words))),
  el("div", { class: "pages" }, more, said));

export const matrix = memo((rounds) => {
  columns_ = rounds.filter((r) => r.participants).slice(-LAST).reverse(); // newest first: on a narrow screen, too
  byId("matrix").replaceChildren(columns_.length ? whole : "");
  const clients = new Map();
  columns_.forEach((round, at) => {
    const of = (name) => {
      if (!clients.has(name)) clients.set(name, { name, cells: Array(columns_.length).fill(null), trouble: 0 });
      return clients.get(name);
    };
    for (const name of round.participants) of(name).cells[at] = ["unused", ""];
    for (const name of round.accepted) of(name).cells[at] = ["accepted", ""];
    for (const name of round.dropped) { of(name).cells[at] = ["dropped", ""]; of(name).trouble += 1; }
    for (const [name, word] of round.excluded) { of(name).cells[at] = ["excluded", reason(word)]; of(name).trouble += 1.01; }
  });
  rows = [...clients.values()];
  draw();
});

function draw() {
  const wanted = filter.value.trim().toLowerCase();
  const found = rows.filter((row) => row.name.toLowerCase().includes(wanted));
  found.sort((a, b) => (order.value === "trouble" ? b.trouble - a.trouble : 0)
    || a.name.localeCompare(b.name, "en", { numeric: true }));
  const head = el("tr", null, el("th", { scope: "col" }, "Client"),
    columns_.map((r) => el("th", { scope: "col", title: `round ${r.round}: ${r.outcome}` },
      el("span", { class: "unseen" }, "round "), String(r.round))));
  const body = found.slice(0, shown).map((row) => el("tr", null,
    el("th", { scope: "row", title: row.name }, row.name),
    row.cells.map((cell, at) => {
      const [kind, words] = cell ?? ["absent", ""];
      const [mark, meaning] = MARKS[kind];
      const told = words ? `${meaning}: ${words}` : meaning;
      return el("td", { class: kind, title: `${row.name}, round ${columns_[at].round}: ${told}` },
        el("span", { "aria-hidden": "true" }, mark), el("span", { class: "unseen" }, told));
    })));
  grid.replaceChildren(el("table", null, el("caption", { class: "unseen" }, "What became of each client in each of the last rounds"),
    el("thead", null, head), el("tbody", null, body)));
  more.hidden = found.length <= shown;
  more.textContent = `Show ${Math.min(EACH, found.length - shown)} more`;
  const text = `${Math.min(shown, found.length)} of ${plural(found.length, "client")}`;
  if (said.textContent !== text) said.textContent = text;
}
