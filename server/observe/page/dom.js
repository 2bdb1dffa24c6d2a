// Elements and words. What the server says becomes text, never markup: names of clients are not to be trusted.

const SVG = "http://www.w3.org/2000/svg";
// Control characters, and marks that turn the direction of text: they could disguise a name.
const UNPRINTABLE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

export const byId = (id) => document.getElementById(id);
export const plain = (text) => String(text).replace(UNPRINTABLE, "\ufffd");

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (name === "on") for (const [event, act] of Object.entries(value)) node.addEventListener(event, act);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, plain(value));
  }
  for (const child of children.flat()) {
    if (child === null || child === undefined || child === "") continue;
    node.append(child instanceof Node ? child : document.createTextNode(plain(child)));
  }
  return node;
}

export const el = (name, attributes, ...children) => fill(document.createElement(name), attributes, children);
export const svg = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children);

// Changes a text only where it differs: a reader's selection stays, and nothing is announced twice.
export function say(node, text) {
  const wanted = plain(text);
  if (node.textContent !== wanted) node.textContent = wanted;
}

export function show(node, whether) {
  if (node.hidden === whether) node.hidden = !whether;
}

// A table whose first column heads its rows. `columns`: [{name, of(row), numeric}].
export function table(caption, columns, rows, { hidden = false } = {}) {
  const head = columns.map((c) => el("th", { scope: "col", class: c.numeric ? "n" : null }, c.name));
  const body = rows.map((row) =>
    el("tr", null, columns.map((c, at) => {
      const content = c.of(row);
      return at === 0
        ? el("th", { scope: "row" }, content)
        : el("td", { class: c.numeric ? "n" : null }, content);
    })));
  return el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": caption },
    el("table", null, el("caption", { class: hidden ? "unseen" : null }, caption),
      el("thead", null, el("tr", null, head)), el("tbody", null, body)));
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

// -- numbers ----------------------------------------------------------------------------------------------------------

export const known = (value) => typeof value === "number" && Number.isFinite(value);
export const NOT_KNOWN = "–";

export const count = (value) => known(value) ? value.toLocaleString("en") : NOT_KNOWN;
export const percent = (value, digits = 1) =>
  known(value) ? `${(value * 100).toFixed(digits).replace(/\.0+$/, "")} %` : NOT_KNOWN;
export const number = (value) => known(value) ? String(Number(value.toPrecision(3))) : NOT_KNOWN;
export const plural = (n, one, more = `${one}s`) => `${count(n)} ${n === 1 ? one : more}`;

export function points(value) {
  if (!known(value)) return "";
  const rounded = Math.round(value * 1000) / 10;
  return rounded === 0 ? "unchanged" : `${rounded > 0 ? "+" : "−"}${Math.abs(rounded)} points`;
}

export function size(bytes) {
  if (!known(bytes)) return NOT_KNOWN;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0, value = bytes;
  while (value >= 1024 && at < units.length - 1) { value /= 1024; at += 1; }
  return `${at === 0 || value >= 100 ? Math.round(value) : value.toFixed(1).replace(/\.0$/, "")} ${units[at]}`;
}

const YEAR_S = 365.25 * 86400;

export function time(seconds) {
  if (!known(seconds)) return NOT_KNOWN;
  if (seconds < 0) return "0 s";
  if (seconds < 10) return `${seconds.toFixed(1).replace(/\.0$/, "")} s`;
  if (seconds >= 2 * YEAR_S) return `${(seconds / YEAR_S).toFixed(1)} years`;
  if (seconds < 60) return `${Math.round(seconds)} s`;
  const steps = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
  const first = steps.findIndex(([, length]) => seconds >= length);
  let rest = Math.floor(seconds);
  const words = steps.slice(first, first + 2).map(([unit, length]) => {
    const whole = Math.floor(rest / length);
    rest -= whole * length;
    return whole ? `${whole} ${unit}` : "";
  });
  return words.filter(Boolean).join(" ");
}

const NEAR = new Intl.DateTimeFormat("en-GB", { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
const FAR = new Intl.DateTimeFormat("en-GB", { dateStyle: "medium" });

// A time; of one that is far away, the day.
export function when(unix) {
  if (!known(unix)) return NOT_KNOWN;
  return (Math.abs(unix * 1000 - Date.now()) < YEAR_S * 500 ? NEAR : FAR).format(new Date(unix * 1000));
}
