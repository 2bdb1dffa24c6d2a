// Clients that differ: how fair the model is to them, what they contribute, clusters and tiers.

import { figure } from "./charts.js";
import { byId, count, el, known, memo, number, percent, show, size, table } from "./dom.js";
import { riding } from "./words.js";

const MODELS = { global: "common model", personal: "personal models", alone: "each trained alone" };
const SHOWN = 14;

const spread = figure({ kind: "lines", name: "Accuracy over clients, by round", format: "percent", share: true });
const worth = figure({ kind: "bars", name: "Contribution" });
const factors = figure({ kind: "bars", name: "Weights" });

export const heterogeneity = memo((told, rounds) => {
  const found = (key) => told?.[key]?.found;
  const at = (key) => told?.[key]?.round;
  const parts = [];
  const measured = found("spread"), given = found("contribution"), beside = given ? riders(given) : [];
  if (measured) parts.push(el("div", null, spreadTable(measured, at("spread")), worse(measured), beside));
  const curve = overRounds(rounds);
  if (curve) parts.push(spread.node);
  const fair = found("fairness"), shares = numbers(fair?.weights);
  if (fair && fair.rule && fair.rule !== "none") {
    parts.push(el("div", null, el("p", null, `Rule ${fair.rule}${known(fair.q ?? fair.t) ? `, strength ${number(fair.q ?? fair.t)}` : ""}: `
      + "clients that the model serves badly weigh more. 1 is the usual weight."), shares.length ? factors.node : histogram(fair)));
  }
  const totals = contributions(given);
  if (totals.length) parts.push(worth.node);
  if (!measured && beside.length) parts.push(el("div", null, beside));
  const clusters = found("cluster")?.clusters ?? {};
  if (Object.keys(clusters).length > 1) parts.push(clusterTable(clusters));
  if (found("tiers")) parts.push(tierTable(found("tiers")));
  show(byId("heterogeneity"), parts.length > 0);
  byId("heterogeneity-parts").replaceChildren(...parts);
  if (curve) spread.set(curve);
  if (shares.length) fillBars(factors, "factor", shares, `Weight of each client, round ${at("fairness")}`);
  if (totals.length) fillBars(worth, "total", totals, `Contribution so far (${given.method}), as of round ${at("contribution")}`);
});

// The highest and the lowest are drawn; the table has all.
function fillBars(chart, name, rows, words) {
  const of = (key) => rows.map((row) => row[key]), every = [...rows.keys()], many = rows.length > SHOWN;
  chart.set({ x: of("name"), series: [{ name, values: of("value") }], low: of("low"), high: of("high"), notes: of("note"),
    shown: many ? [...every.slice(0, SHOWN - 4), ...every.slice(-4)] : every },
  many ? `${words}: the ${SHOWN - 4} highest and the 4 lowest of ${rows.length}` : words);
}

const numbers = (weights) => Object.entries(weights ?? {}).filter(([, value]) => known(value))
  .map(([name, value]) => ({ name, value })).sort((a, b) => b.value - a.value);

function contributions(given) {
  return Object.entries(given?.scores ?? {}).filter(([, parts]) => known(parts.total)).map(([name, parts]) => {
    const [low, high] = given.intervals?.[name] ?? [];
    const level = given.levels?.[name], rider = given.free_riders?.[name] ? "free rider" : "";
    return { name, value: parts.total, low, high, note: [rider, known(level) ? `model quality ${percent(level)}` : ""].filter(Boolean).join(", ") };
  }).sort((a, b) => b.value - a.value);
}

function spreadTable(found, round) {
  const rows = Object.keys(MODELS).filter((model) => found[model]).map((model) => ({ model, ...found[model] }));
  return table(`Accuracy on the clients' own data, round ${round}`, [
    { name: "Model", of: (row) => MODELS[row.model] },
    { name: "Mean", numeric: true, of: (row) => percent(row.mean) },
    { name: "Worst 10 %", numeric: true, of: (row) => percent(row.worst10) },
    { name: "Best 10 %", numeric: true, of: (row) => percent(row.best10) },
    { name: "Clients", numeric: true, of: (row) => count(row.clients) },
  ], rows);
}

const worse = (found) => known(found.worse_than_alone) ? el("p", { class: "note" },
  `${percent(found.worse_than_alone)} of the clients would fare better with a model of their own.`) : null;

function overRounds(rounds) {
  const told = rounds.filter((r) => known(r.heterogeneity?.spread?.models?.global?.mean));
  if (told.length < 2) return null;
  const of = (key) => told.map((r) => r.heterogeneity.spread.models.global[key]);
  return {
    x: told.map((r) => r.round),
    series: [{ name: "best tenth", colour: 5, values: of("best10") }, { name: "mean", colour: 0, values: of("mean") },
      { name: "worst tenth", colour: 1, values: of("worst10") }].filter((s) => s.values.some(known)),
  };
}

function histogram(fair) {
  const steps = fair.weights?.histogram;
  return Array.isArray(steps) ? table("Clients by their factor, smallest step first", [
    { name: "Step", of: ([, at]) => String(at + 1) }, { name: "Clients", numeric: true, of: ([n]) => count(n) },
  ], steps.map((n, at) => [n, at])) : null;
}

function riders(given) {
  const found = [...Object.entries(given.free_riders ?? {}).map(([name, why]) => [name, riding(why)]),
    ...Object.entries(given.copies ?? {}).map(([name, whose]) => [name, `sends the update of ${whose}`])];
  const parts = [];
  if (found.length) parts.push(table("Taken for free riders", [
    { name: "Client", of: ([name]) => name }, { name: "What speaks for it", of: ([, why]) => why }], found));
  if (given.skipped) parts.push(el("p", { class: "note" }, `The last round was not scored: ${given.skipped}.`));
  return parts;
}

const clusterTable = (clusters) => table("Clusters of clients", [
  { name: "Cluster", of: ([name]) => name },
  { name: "Clients", numeric: true, of: ([, members]) => count(members.length) },
  { name: "Members", of: ([, members]) => members.slice(0, 12).join(", ") + (members.length > 12 ? ", …" : "") },
], Object.entries(clusters));

const tierTable = (tiers) => table("Tiers of clients: what they send", [
  { name: "Tier", of: ([name]) => name },
  { name: "Clients", numeric: true, of: ([, c]) => count(c.clients) },
  { name: "Coordinates", of: ([, c]) => c.keep_one_in > 1 ? `1 in ${c.keep_one_in}` : "all" },
  { name: "Bytes up each", numeric: true, of: ([, c]) => size(c.bytes) },
  { name: "Sum", of: ([, c]) => c.void ? `✕ none: ${c.void}` : "● counts" },
], Object.entries(tiers));
