// What the page alone needs beside the elements and numbers of charts.js.

import { NOT_KNOWN, YEAR_S, count, known, plain } from "./charts.js";

export { count, el, known, number, percent, plain, size, table, time } from "./charts.js";

export const byId = (id) => document.getElementById(id);

// Changes a text only where it differs: a reader's selection stays, and nothing is announced twice.
export function say(node, text) {
  const wanted = plain(text);
  if (node.textContent !== wanted) node.textContent = wanted;
}

export function show(node, whether) {
  if (node.hidden === whether) node.hidden = !whether;
}

// Redraws only when what it shows has changed.
export function memo(draw) {
  let known = null;
  return (key, ...rest) => {
    const text = typeof key === "string" ? key : JSON.stringify(key);
    if (text === known) return;
    known = text;
    draw(...rest);
  };
}

export const plural = (n, one, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;

export function points(value) {
  if (!known(value)) return "";
  const rounded = Math.round(value * 1000) / 10;
  return rounded === 0 ? "unchanged" : `${rounded > 0 ? "+" : "−"}${Math.abs(rounded)} points`;
}

const NEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const FAR = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });

// A time; of one that is far away, the day.
export function when(unix) {
  if (!known(unix)) return NOT_KNOWN;
  return (Math.abs(unix * 1000 - Date.now()) < YEAR_S * 500 ? NEAR : FAR).format(new Date(unix * 1000));
}
