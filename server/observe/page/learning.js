// How the model learns: curves over the rounds, and the recall of each class.

import { figure, nothing } from "./charts.js";
import { byId, known, memo } from "./dom.js";

const CURVES = [
  ["accuracy", "accuracy", 0], ["balanced", "balanced_accuracy", 2], ["head", "head_accuracy", 5],
  ["tail", "tail_accuracy", 1], ["worst class", "worst_class", 4],
];
const MOST_CLASSES = 24;

const accuracy = figure({ kind: "lines", name: "Accuracy by round", format: "percent", share: true });
const loss = figure({ kind: "lines", name: "Loss by round" });
const classes = figure({ kind: "cells", name: "Recall of each class by round", format: "percent", top: 1, across: "round" }, { wide: true });

function curves(rounds) {
  const measured = rounds.filter((r) => CURVES.some(([, key]) => known(r[key])));
  return {
    x: measured.map((r) => r.round),
    series: CURVES.map(([name, key, colour]) => ({ name, colour, values: measured.map((r) => r[key]) }))
      .filter((s) => s.values.some(known)),
  };
}

function losses(rounds) {
  const found = rounds.filter((r) => known(r.loss) || known(r.train_metrics?.loss));
  const series = [
    { name: "on held-out data", colour: 0, values: found.map((r) => r.loss) },
    { name: "of the clients' training", colour: 1, values: found.map((r) => r.train_metrics?.loss) },
  ].filter((s) => s.values.some(known));
  return { x: found.map((r) => r.round), series };
}

// The lowest classes first where there are many; in order of their numbers where there are few.
function byClass(rounds) {
  const found = rounds.filter((r) => r.class_accuracy?.some(known));
  const width = Math.max(0, ...found.map((r) => r.class_accuracy.length));
  let rows = Array.from({ length: width }, (_, c) => ({ name: `class ${c}`, values: found.map((r) => r.class_accuracy[c]) }));
  const all = rows.length;
  if (rows.length > MOST_CLASSES) {
    const now = (row) => row.values.findLast(known) ?? 2;
    rows = rows.sort((a, b) => now(a) - now(b)).slice(0, MOST_CLASSES);
  }
  return { x: found.map((r) => r.round), series: rows, all };
}

export const learning = memo((rounds) => {
  const parts = [], shares = curves(rounds), lost = losses(rounds), recall = byClass(rounds);
  if (shares.x.length) parts.push([accuracy, shares]);
  if (lost.x.length) parts.push([loss, lost]);
  if (recall.series.length) {
    const words = recall.all > recall.series.length ? `Recall by round: the lowest ${recall.series.length} of ${recall.all} classes`
      : "Recall of each class by round";
    parts.push([classes, recall, words]);
  }
  const box = byId("learning-parts");
  const nodes = parts.map(([part]) => part.node);
  if (!nodes.length) nodes.push(nothing(rounds.length ? "No round was evaluated yet." : "No round is over yet."));
  if (nodes.length !== box.children.length || nodes.some((node, at) => node !== box.children[at])) {
    box.replaceChildren(...nodes);
  }
  parts.forEach(([part, data, words]) => part.set(data, words));
});
