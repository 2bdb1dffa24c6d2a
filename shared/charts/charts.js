// Charts over Observable Plot, for the status page and for reports alike, and the words that both need. A chart is data:
//   {kind, name, x: [rounds or names], series: [{name, values}], format, ...what its kind takes}
// It is drawn for the width that there is; its numbers stand beside it as a table. Colours are variables of charts.css,
// and nothing is told by colour alone: curves have dashes, dots have shapes, pieces and cells have their words.

const { Plot, d3 } = globalThis;
const SVG = "http://www.w3.org/2000/svg";
// Control characters, and marks that turn the direction of text: they could disguise a name.
const UNPRINTABLE = /[\u0000-\u0008\u000b\u000c\u000e-\u001f\u007f-\u009f\u202a-\u202e\u2066-\u2069]/g;

// -- elements: what a server or a report says becomes text, never markup ----------------------------------------------

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
const svg = (name, attributes, ...children) => fill(document.createElementNS(SVG, name), attributes, children);
export const nothing = (words) => el("p", { class: "quiet blank" }, words);

// A table whose first column heads its rows. `columns`: [{name, of(row), numeric}].
export function table(caption, columns, rows, { hidden = false } = {}) {
  const head = columns.map((c) => el("th", { scope: "col", class: c.numeric ? "n" : null }, c.name));
  const body = rows.map((row) => el("tr", null, columns.map((c, at) => at === 0
    ? el("th", { scope: "row" }, c.of(row)) : el("td", { class: c.numeric ? "n" : null }, c.of(row)))));
  return el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": caption },
    el("table", null, el("caption", { class: hidden ? "unseen" : null }, caption),
      el("thead", null, el("tr", null, head)), el("tbody", null, body)));
}

// -- numbers ----------------------------------------------------------------------------------------------------------

export const NOT_KNOWN = "–";
export const known = (value) => typeof value === "number" && Number.isFinite(value);
export const count = (value) => known(value) ? value.toLocaleString("en", { maximumFractionDigits: 1 }) : NOT_KNOWN;
export const percent = (value, digits = 1) =>
  known(value) ? `${(value * 100).toFixed(digits).replace(/\.0+$/, "")} %` : NOT_KNOWN;
export const number = (value) => known(value) ? String(Number(value.toPrecision(3))) : NOT_KNOWN;

export function size(bytes) {
  if (!known(bytes)) return NOT_KNOWN;
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let at = 0, value = bytes;
  while (value >= 1024 && at < units.length - 1) { value /= 1024; at += 1; }
  return `${at === 0 || value >= 100 ? Math.round(value) : value.toFixed(1).replace(/\.0$/, "")} ${units[at]}`;
}

export const YEAR_S = 365.25 * 86400;

export function time(seconds) {
  if (!known(seconds)) return NOT_KNOWN;
  if (seconds <= 0) return "0 s";
  if (seconds < 0.1) return `${Number((seconds * 1000).toPrecision(2))} ms`;
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

const FORMS = { count, number, percent, seconds: time, size, whole: (v) => known(v) ? String(Math.round(v * 100)) : NOT_KNOWN };
const formOf = (spec) => FORMS[spec.format] ?? number;

// -- what all kinds share ---------------------------------------------------------------------------------------------

const CHARACTER = 6.7; // px, of text of 12 px
const DASHES = ["", "7 4", "2 4", "11 4 2 4", "5 2", "1 3"];
const SYMBOLS = ["circle", "square2", "triangle", "diamond2", "cross", "star", "wye"];
const colour = (each, at) => `var(--c${(each?.colour ?? at) % 10})`;
const last = (values) => values.findLast(known);
const sum = (values) => values.reduce((a, b) => a + (known(b) ? b : 0), 0);
const clamp = (value, low, high) => Math.min(Math.max(value, low), high);
const longest = (names) => Math.max(0, ...names.map((name) => name.length));
const told = (words) => words.filter(Boolean).join("\n");

// Names of machines differ at both ends: the middle goes.
function clip(name, characters) {
  if (name.length <= characters) return name;
  const tail = Math.max(1, Math.floor((characters - 1) / 2));
  return `${name.slice(0, Math.max(1, characters - 1 - tail))}…${name.slice(-tail)}`;
}

function plot(spec, width, height, marks, scales = {}) {
  const form = formOf(spec);
  const words = spec.series.slice(0, 8).map((s) => `${s.name}: ${typeof s.values[0] === "string" ? s.values.at(-1) : form(last(s.values))}`);
  const node = Plot.plot({ width, height, marks, marginTop: 10, marginRight: 14, marginBottom: 26,
    ariaLabel: `${spec.name}. Last: ${words.join(", ")}.`, ...scales });
  node.setAttribute("role", "img");
  node.classList.add("plot");
  return node;
}

// Round numbers from `low` to `high`, in bytes round in the unit in which they are written.
function span(low, high, { format }, about = 4) {
  const unit = format === "size" ? 1024 ** Math.floor(Math.log2(Math.max(high, 1)) / 10) : 1;
  const [first, end] = d3.nice(low / unit, (high > low ? high : low + 1) / unit, about);
  const ticks = d3.ticks(first, end, about).filter((mark) => format !== "count" || Number.isInteger(mark));
  return { domain: [first * unit, end * unit], ticks: ticks.map((mark) => mark * unit) };
}

// A grid and its labels along `axis`, "x" or "y".
function values(axis, { ticks }, form) {
  const of = { ticks, tickSize: 0, label: null, tickFormat: form, fill: "var(--ink-quiet)" };
  const grid = { ticks, stroke: "var(--rule)", strokeOpacity: 1 };
  return axis === "x" ? [Plot.gridX(grid), Plot.axisX(of)] : [Plot.gridY(grid), Plot.axisY(of)];
}

// Names along `axis`, as many as fit, each `pitch` px from the next.
function labels(axis, names, pitch, characters) {
  const need = axis === "x" ? Math.min(longest(names), characters) * CHARACTER + 8 : 14;
  const shown = d3.range(0, names.length, Math.ceil(need / pitch));
  return (axis === "x" ? Plot.axisX : Plot.axisY)(shown, { tickSize: 0, label: null, tickFormat: (at) => clip(names[at], characters) });
}

// Where rows of names lie: they shrink with their number, so that 200 clients still make one picture.
function rowsOf(names, width) {
  const pitch = clamp(520 / names.length, 3, 25), left = Math.min(longest(names) * CHARACTER + 14, width * 0.36);
  return { pitch, left, height: pitch * names.length, axis: labels("y", names, pitch, Math.floor((left - 12) / CHARACTER)),
    y: { type: "band", domain: d3.range(names.length), padding: pitch > 8 ? 0.24 : 0.1 } };
}

// What each sign means; `sign(at)` draws it, and the last known value stands behind the name.
function legend(spec, sign, valued = false) {
  if (spec.series.length < 2 && !valued) return null;
  const form = formOf(spec);
  return el("ul", { class: "legend" }, spec.series.map((s, at) => el("li", null,
    svg("svg", { class: "key", width: 22, height: 12, viewBox: "0 0 22 12", "aria-hidden": "true" }, sign(s, at)), s.words ?? s.name,
    valued ? el("b", null, form(last(s.values))) : null)), valued ? el("li", { class: "quiet" }, spec.last ?? "last") : null);
}

const box = (s, at) => svg("rect", { fill: colour(s, at), x: 4, y: 0, width: 12, height: 12, rx: 3 });
const halo = { fill: "var(--ink)", stroke: "var(--paper)", strokeWidth: 4 };
const pointed = (axis, given) => Plot.tip(given, Plot[axis]({ x: "x", y: "y", title: "words", maxRadius: 60 }));

// -- the kinds --------------------------------------------------------------------------------------------------------

// Curves over rounds. `share`: of 1, with an axis of at least 5 points; else from 0.
function lines(spec, width) {
  const form = formOf(spec), { x, series, across = "round" } = spec, all = series.flatMap((s) => s.values).filter(known);
  let [low, high] = d3.extent(all);
  if (spec.share) {
    const least = Math.max(high - low, 0.05);
    low = clamp((low + high - least) / 2, 0, Math.max(0, 1 - least));
    high = low + least;
  } else low = Math.min(0, low);
  const up = span(low, high, spec), left = longest(up.ticks.map(form)) * CHARACTER + 12;
  const rounds = x.map((at, i) => ({ x: at, y: d3.max(series, (s) => s.values[i]), words: told([`${across} ${at}`,
    ...series.map((s) => known(s.values[i]) ? `${s.name}: ${form(s.values[i])}` : "")]) })).filter((each) => known(each.y));
  const curves = series.flatMap((s, i) => {
    const points = x.map((at, j) => ({ x: at, y: s.values[j] })).filter((point) => known(point.y));
    return [Plot.line(points, { x: "x", y: "y", stroke: colour(s, i), strokeWidth: 2, strokeDasharray: DASHES[i % 6] || null }),
      Plot.dot(points.length > 30 ? [] : points, { x: "x", y: "y", fill: colour(s, i), r: 2.5 })];
  });
  const first = x[0], end = x.at(-1), ticks = first === end ? [first] : d3.ticks(first, end, Math.max(2, width / 70)).filter(Number.isInteger);
  const chart = plot(spec, width, clamp(width * 0.42, 190, 280), [...values("y", up, form),
    Plot.axisX({ ticks, tickSize: 0, tickFormat: String, label: null, fill: "var(--ink-quiet)" }), ...curves,
    Plot.ruleX(rounds, Plot.pointerX({ x: "x", stroke: "var(--axis)" })), pointed("pointerX", rounds)],
  { marginLeft: left, x: { type: "linear", domain: first === end ? [first - 1, end + 1] : [first, end] }, y: { domain: up.domain } });
  return [legend(spec, (s, i) => svg("line", { stroke: colour(s, i), "stroke-width": 2.5, x1: 1, x2: 21, y1: 6, y2: 6,
    "stroke-dasharray": DASHES[i % 6] || null }), true), chart];
}

// Amounts that add up, a column for each x; where there are too many to be seen, each is the mean of some.
function columns(spec, width) {
  const form = formOf(spec), { series } = spec, bins = binned(spec, Math.floor((width - 70) / 7));
  const up = span(0, d3.max(bins, (bin) => sum(bin.values)), spec), left = longest(up.ticks.map(form)) * CHARACTER + 12;
  const pitch = Math.min(44, (width - left - 14) / bins.length);
  const chart = plot(spec, width, 210, [...values("y", up, form), labels("x", bins.map((bin) => String(bin.first)), pitch, 12),
    Plot.barY(stacked(bins.map((bin) => bin.values)), { x: "row", y1: "from", y2: "to", fill: (p) => colour(series[p.part], p.part), stroke: "var(--paper)",
      strokeWidth: pitch > 8 ? 1 : 0 }),
    pointed("pointerX", bins.map((bin, x) => ({ x, y: sum(bin.values), words: told([named(bin, spec),
      ...series.map((s, i) => `${s.name}: ${form(bin.values[i])}`)]) })))],
  { marginLeft: left, marginRight: width - left - pitch * bins.length, y: { domain: up.domain }, color: { type: "identity" },
    x: { type: "band", domain: d3.range(bins.length), padding: 0.2 } });
  return [legend({ ...spec, last: bins[0].first === bins[0].last ? "last" : "last; columns are means of some rounds" }, box, true), chart];
}

const named = (bin, { across = "round" }) => bin.first === bin.last ? `${across} ${bin.first}` : `${across}s ${bin.first} to ${bin.last}`;

function binned({ x, series }, most) {
  const each = Math.max(1, Math.ceil(x.length / Math.max(1, most)));
  return d3.range(0, x.length, each).map((at) => ({ first: x[at], last: x[Math.min(at + each, x.length) - 1],
    values: series.map((s) => typeof s.values[at] === "string" ? s.values[at] : d3.mean(s.values.slice(at, at + each).filter(known)) ?? null) }));
}

// Pieces one after the other; of a row with one value it alone, which may lie below 0.
const stacked = (rows) => rows.flatMap((parts, row) => {
  let to = 0;
  return parts.map((value, part) => ({ row, part, value, from: parts.length > 1 ? to : 0, to: to += known(value) ? value : 0 }))
    .filter((piece) => piece.from !== piece.to);
});

// Rows from a common zero: one value each, `low` to `high` where an interval is known, `out`: marked; or a stack.
// `limit`: a line across; `ends`: what stands behind a row instead of its value.
function bars(spec, width) {
  const form = formOf(spec), { x, series, low = [], high = [], out = [], limit } = spec, one = series.length === 1;
  const rows = rowsOf(x, width), pieces = stacked(x.map((_, at) => series.map((s) => s.values[at]))), total = (at) => sum(series.map((s) => s.values[at]));
  const end = (at) => Math.max(0, total(at), high[at] ?? 0), ends = x.map((_, at) => spec.ends?.[at] ?? (one && !known(series[0].values[at]) ? NOT_KNOWN
    : `${form(total(at))}${out[at] ? " ✕" : ""}`));
  const across = span(Math.min(0, ...low.filter(known), ...x.map((_, at) => total(at))), Math.max(...x.map((_, at) => end(at)), limit ?? 0), spec,
    Math.max(2, (width - rows.left) / 110));
  const right = longest(ends) * CHARACTER + 12, length = (piece) => (width - rows.left - right) * Math.abs(piece.to - piece.from) / (across.domain[1] - across.domain[0]);
  const note = (at) => spec.notes?.[at] || (known(low[at]) ? `${form(low[at])} to ${form(high[at])}` : "");
  const chart = plot(spec, width, rows.height + 30, [...values("x", across, form), rows.axis,
    Plot.barX(pieces, { y: "row", x1: "from", x2: "to", fill: (p) => one && (out[p.row] || p.value < 0) ? "var(--c1)" : colour(series[p.part], p.part),
      stroke: "var(--paper)", strokeWidth: one || rows.pitch < 8 ? 0 : 1 }),
    Plot.ruleY(x.map((_, at) => at).filter((at) => known(low[at])), { y: (at) => at, x1: (at) => low[at], x2: (at) => high[at], stroke: "var(--ink)", strokeWidth: 2 }),
    Plot.ruleX([0], { stroke: "var(--axis)" }), Plot.ruleX(known(limit) ? [limit] : [], { stroke: "var(--ink)", strokeDasharray: "5 4" }),
    rows.pitch < 14 || one ? null : Plot.text(pieces.filter((p) => length(p) > series[p.part].name.length * CHARACTER + 10), { y: "row",
      x: (p) => (p.from + p.to) / 2, text: (p) => series[p.part].name, ...halo }),
    rows.pitch < 14 ? null : Plot.text(ends, { y: (_, at) => at, x: (_, at) => end(at), text: (words) => words, textAnchor: "start", dx: 6, ...halo }),
    Plot.tip(pieces, Plot.pointer({ y: "row", x: (p) => (p.from + p.to) / 2, maxRadius: 200,
      title: (p) => told([one ? x[p.row] : `${x[p.row]}, ${series[p.part].name}`, form(p.value), note(p.row)]) }))],
  { marginTop: 2, marginLeft: rows.left, marginRight: right, x: { domain: across.domain }, y: rows.y, color: { type: "identity" } });
  return [legend(spec, box), chart];
}

// A table of shades: series are rows, from 0 (faint) to `top` (full), or of `kinds` by name. `marks`: [row, column] whose
// corner is marked, `why`; `faint`: write the smallest values, too.
function cells(spec, width) {
  const form = formOf(spec), { series, kinds, marks = [], faint = true } = spec;
  const rows = rowsOf(series.map((s) => s.name), width), top = spec.top ?? (d3.max(series, (s) => d3.max(s.values)) || 1);
  const aside = spec.across && !kinds ? 60 : 14, bins = binned(spec, marks.length ? spec.x.length : Math.floor((width - rows.left - aside) / 6));
  const pitch = Math.min((width - rows.left - aside) / bins.length, 90), marked = new Set(marks.map(String));
  const found = series.flatMap((s, y) => bins.map((bin, x) => {
    const value = bin.values[y], share = known(value) ? clamp(value / top, 0, 1) : null, mark = marked.has(`${y},${x}`);
    const text = kinds ? value ?? "" : form(value), short = spec.format === "percent" ? FORMS.whole(value) : text;
    return { x, y, value, text, short, mark, kind: kinds?.indexOf(value) ?? -1, share: kinds ? 0.45 : share === null ? 0 : 0.04 + 0.96 * share,
      words: told([s.name, `${named(bin, { across: spec.across ?? "" }).trim()}: ${kinds ? value ?? "nowhere" : text}`, mark && spec.why]) };
  }));
  const fits = (what) => bins.length <= 24 && rows.pitch >= 15 && pitch >= longest(found.map((c) => c[what])) * CHARACTER + 4;
  const room = ["text", "short"].find(fits);
  const ink = (c) => !kinds && c.share > 0.7 ? "var(--heat-ink)" : "var(--ink)";
  const written = found.filter((c) => known(c.value) ? faint || c.share > 0.09 : c.value);
  const chart = plot(spec, width, rows.height + 26, [rows.axis, labels("x", bins.map((bin) => String(bin.first)), pitch, 12),
    Plot.cell(found, { x: "x", y: "y", inset: Math.min(pitch, rows.pitch) > 8 ? 0.5 : 0, fill: (c) => c.kind < 0 ? "var(--heat)" : colour(null, c.kind),
      fillOpacity: "share", stroke: (c) => known(c.value) || c.kind >= 0 ? "none" : "var(--rule)" }),
    Plot.text(room ? written : [], { x: "x", y: "y", text: room, fill: ink }),
    Plot.text(room || aside < 60 ? [] : series, { y: (_, y) => y, x: () => bins.length - 1, dx: pitch / 2 + 6, textAnchor: "start", text: (s) => form(last(s.values)) }),
    Plot.text(found.filter((c) => c.mark), { x: "x", y: "y", text: () => "◥", dx: pitch / 2 - 1, dy: -rows.pitch / 2, textAnchor: "end", lineAnchor: "top", fill: ink }),
    pointed("pointer", found)],
  { marginTop: 2, marginLeft: rows.left, marginRight: width - rows.left - pitch * bins.length, color: { type: "identity" }, opacity: { type: "identity" },
    x: { type: "band", domain: d3.range(bins.length), padding: 0 }, y: { ...rows.y, padding: 0 } });
  return [kinds ? legend({ series: kinds.map((name) => ({ name, values: [] })) }, box) : null, chart];
}

// How several figures of one name lie to one another, on a common axis; `low`, `high`: a bar behind, where known.
function dots(spec, width) {
  const form = formOf(spec), { x, series, low = [], high = [] } = spec, rows = rowsOf(x, width);
  const found = series.flatMap((s, part) => s.values.map((value, y) => ({ y, part, x: value, words: told([x[y], `${s.name}: ${form(value)}`,
    known(low[y]) && `${form(low[y])} to ${form(high[y])}`]) }))).filter((dot) => known(dot.x));
  const all = [...found.map((dot) => dot.x), ...low, ...high].filter(known);
  const across = span(spec.share ? Math.max(0, d3.min(all) - 0.02) : Math.min(0, d3.min(all)), Math.max(0, d3.max(all)), spec, Math.max(2, (width - rows.left) / 110));
  const each = d3.range(x.length), of = (at, best) => best(found.filter((dot) => dot.y === at), (dot) => dot.x);
  const chart = plot(spec, width, rows.height + 30, [...values("x", across, form), rows.axis,
    Plot.ruleY(each, { y: (at) => at, x1: (at) => of(at, d3.min), x2: (at) => of(at, d3.max), stroke: "var(--axis)" }),
    Plot.ruleY(each.filter((at) => known(low[at])), { y: (at) => at, x1: (at) => low[at], x2: (at) => high[at], stroke: "var(--c0)", strokeWidth: 7, strokeOpacity: 0.35 }),
    ...series.map((s, part) => Plot.dot(found.filter((dot) => dot.part === part), { x: "x", y: "y", symbol: SYMBOLS[part % 7],
      r: clamp(rows.pitch * 0.2, 2, 4.5), fill: colour(s, part), stroke: "var(--paper)", strokeWidth: 0.5 })), pointed("pointer", found)],
  { marginTop: 2, marginLeft: rows.left, marginRight: 26, x: { domain: across.domain }, y: rows.y });
  return [legend(spec, (s, at) => svg("path", { d: d3.symbol(d3[`symbol${SYMBOLS[at % 7][0].toUpperCase()}${SYMBOLS[at % 7].slice(1)}`], 80)(),
    transform: "translate(10 6)", fill: colour(s, at) })), chart];
}

// How right the model is against how sure it is, by bins of confidence, `wide` from `low` on; series: how right, how sure,
// and the share of the examples, which is drawn below.
function reliability(spec, width) {
  const [right, sure, amount] = spec.series.map((s) => s.values);
  const found = spec.low.map((x1, i) => ({ x1, x2: x1 + spec.wide, right: right[i], sure: sure[i], n: amount[i], x: x1 + spec.wide / 2,
    y: Math.max(right[i], sure[i]), words: told([`${percent(sure[i])} sure`, `${percent(right[i])} right`, `${percent(amount[i])} of the examples`]) }));
  const ends = { domain: [0, 1], ticks: [0, 0.25, 0.5, 0.75, 1] }, left = 7 * CHARACTER + 8, inset = { insetLeft: 1, insetRight: 1 };
  const gap = (over) => Plot.rectY(found.filter((b) => (b.sure > b.right) === over), { x1: "x1", x2: "x2", y1: "right", y2: "sure", ...inset, ...GAPS[over ? 1 : 2] });
  const chart = plot(spec, width, clamp(width * 0.5, 210, 270), [...values("y", ends, percent), Plot.rectY(found, { x1: "x1", x2: "x2", y1: 0, y2: (b) => Math.min(b.right, b.sure), ...inset, ...GAPS[0] }),
    gap(true), gap(false), Plot.line([[0, 0], [1, 1]], { stroke: "var(--ink-quiet)", strokeDasharray: "5 4" }), pointed("pointerX", found)],
  { marginLeft: left, marginBottom: 4, x: { domain: [0, 1], axis: null }, y: { domain: [0, 1] } });
  const most = span(0, d3.max(found, (b) => b.n), spec, 2);
  const below = plot({ ...spec, name: "Examples by confidence" }, width, 84, [...values("x", ends, percent), Plot.axisY({ ticks: most.ticks, tickFormat: percent, tickSize: 0, label: null }),
    Plot.rectY(found, { x1: "x1", x2: "x2", y1: 0, y2: "n", fill: "var(--axis)", ...inset })], { marginLeft: left, x: { domain: [0, 1] }, y: { domain: most.domain } });
  const said = ["right", "surer than right", "less sure than right"].map((name) => ({ name, values: [] }));
  return [legend({ series: said }, (_, at) => svg("rect", { x: 4, y: 0, width: 12, height: 12, fill: GAPS[at].fill, "fill-opacity": GAPS[at].fillOpacity,
    stroke: GAPS[at].stroke, "stroke-dasharray": GAPS[at].strokeDasharray })), chart, below, el("p", { class: "quiet across" }, "confidence of the model; below: share of the examples")];
}

const GAPS = [{ fill: "var(--c0)", fillOpacity: 1 }, { fill: "var(--c1)", fillOpacity: 0.35, stroke: "var(--c1)" },
  { fill: "var(--c5)", fillOpacity: 0.5, stroke: "var(--ink)", strokeDasharray: "2 2" }];
const KINDS = { lines, columns, bars, cells, dots, reliability };

// -- figures ----------------------------------------------------------------------------------------------------------

// The chart of a specification, as nodes; names are cleaned here, once. `shown`: the places of the rows to be drawn.
function drawn(spec, width) {
  const chosen = (values) => spec.shown && values ? spec.shown.map((at) => values[at]) : values;
  const series = spec.series.map((s) => ({ ...s, name: plain(s.name), values: chosen(s.values) }));
  const [low, high, out, notes] = [spec.low, spec.high, spec.out, spec.notes].map(chosen);
  const x = chosen(spec.kind === "lines" ? spec.x : spec.x.map(plain));
  return KINDS[spec.kind]({ ...spec, x, series, low, high, out, notes, name: plain(spec.name) }, width).filter(Boolean);
}

// Draws into `canvas` for its width, now and whenever it changes; returns what draws again.
function mount(canvas, specOf) {
  let width = 0;
  const draw = () => { if (specOf() && width > 0) canvas.replaceChildren(...drawn(specOf(), width)); };
  new ResizeObserver(() => {
    if (canvas.clientWidth !== width) { width = canvas.clientWidth; draw(); }
  }).observe(canvas);
  return () => { width = canvas.clientWidth; draw(); };
}

// The numbers of a chart: a row for each x, the newest round first.
function numbers(spec) {
  const form = formOf(spec), over = spec.across ?? (["lines", "columns"].includes(spec.kind) ? "round" : null);
  const columns = [{ name: over ? "Round" : "Name", of: (at) => String(spec.x[at]) },
    ...spec.series.map((s) => ({ name: s.name, numeric: true, of: (at) => typeof s.values[at] === "string" ? s.values[at] : form(s.values[at]) }))];
  if (spec.low?.some(known)) columns.push({ name: "Interval", numeric: true, of: (at) => known(spec.low[at]) ? `${form(spec.low[at])} to ${form(spec.high[at])}` : "" });
  if (spec.notes?.some(Boolean)) columns.push({ name: "Note", of: (at) => spec.notes[at] ?? "" });
  const rows = spec.x.map((_, at) => at);
  return table(spec.name, columns, over ? rows.reverse() : rows, { hidden: true });
}

// A figure of the status page; `set` gives it data, and perhaps other words.
export function figure(given, { wide = false } = {}) {
  let spec = null;
  const canvas = el("div", { class: "canvas" }), title = el("figcaption", null, given.name), inner = el("div");
  const details = el("details", { class: "numbers" }, el("summary", null, "As a table", el("span", { class: "unseen" }, `: ${given.name}`)), inner);
  const draw = mount(canvas, () => spec), list = () => { if (spec && details.open) inner.replaceChildren(numbers(spec)); };
  details.addEventListener("toggle", list);
  return {
    node: el("figure", { class: wide ? "chart wide" : "chart" }, title, canvas, details),
    set(data, words = given.name) {
      spec = { ...given, ...data };
      title.textContent = plain(words);
      draw();
      list();
    },
  };
}

// The figures of a report bring their data along.
for (const data of document.querySelectorAll("figure.chart > script")) {
  const spec = JSON.parse(data.textContent), canvas = el("div", { class: "canvas" });
  data.replaceWith(canvas);
  mount(canvas, () => spec);
}
