// Charts: SVG drawn for the width that there is, with the same numbers as a table beside it. Colours are classes of
// plot.css; nothing is told by colour alone.

import { el, known, number, percent, plural, svg, table } from "./dom.js";

const DASHES = ["", "7 4", "2 4", "11 4 2 4", "5 2", "1 3"];

// A figure: caption, drawing, and the table, which is made when somebody opens it.
export function figure(caption, draw, rows = null, { wide = false, below = null } = {}) {
  const box = el("div", { class: "canvas" });
  const title = el("figcaption", null, caption);
  const inner = el("div");
  const details = rows && el("details", { class: "numbers" }, el("summary", null, "As a table",
    el("span", { class: "unseen" }, `: ${caption}`)), inner);
  const node = el("figure", { class: wide ? "chart wide" : "chart" }, title, box, below, details);
  let data = null, width = 0;
  function redraw() {
    if (data !== null && width > 0) box.replaceChildren(draw(data, width));
    if (data !== null && details?.open) inner.replaceChildren(rows(data));
  }
  new ResizeObserver(() => {
    if (box.clientWidth !== width) { width = box.clientWidth; redraw(); }
  }).observe(box);
  details?.addEventListener("toggle", redraw);
  return {
    node,
    set(found, words = null) {
      data = found;
      if (words !== null) title.textContent = words;
      width = box.clientWidth;
      redraw();
    },
  };
}

export const nothing = (words) => el("p", { class: "quiet blank" }, words);

// Round numbers that cover low..high.
export function ticks(low, high, about = 4) {
  const span = high > low ? high - low : 1;
  const power = 10 ** Math.floor(Math.log10(span / about));
  const step = [1, 2, 2.5, 5, 10].map((s) => s * power).find((s) => span / s <= about * 1.001) ?? 10 * power;
  const first = Math.floor(low / step + 1e-9), last = Math.ceil((low + span) / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// The same in bytes: round in the unit in which they are written.
function byteTicks(high) {
  const unit = 1024 ** Math.max(0, Math.min(4, Math.floor(Math.log2(Math.max(high, 1)) / 10)));
  return ticks(0, high / unit, 3).map((mark) => mark * unit);
}

// Round numbers of rounds for the x axis: whole, and so many that their labels do not touch.
function roundTicks(first, last, width) {
  if (first === last) return [first];
  const found = ticks(first, last, Math.max(2, Math.floor(width / 70)));
  return found.filter((n) => Number.isInteger(n) && n >= first && n <= last);
}

const label = (text, x, y, extra = {}) => svg("text", { x, y, ...extra }, text);

// Lines over rounds. data: {x: [round], series: [{name, values}]}; format: value -> words; share: 0..1.
export function lines(name, { share = false, format = share ? percent : number } = {}) {
  return (data, width) => {
    const height = Math.max(190, Math.min(280, width * 0.42)), left = 46, right = 14, top = 10, bottom = 26;
    const values = data.series.flatMap((s) => s.values).filter(known);
    const low = share ? Math.min(...values) : Math.min(0, ...values);
    const marks = ticks(share ? Math.max(0, Math.floor(low * 10) / 10) : low, share ? 1 : Math.max(...values));
    const [first, last] = [data.x[0], data.x[data.x.length - 1]];
    const x = (at) => left + (width - left - right) * (last === first ? 0.5 : (at - first) / (last - first));
    const [y0, y1] = [marks[0], marks[marks.length - 1]];
    const y = (value) => height - bottom - (height - top - bottom) * ((value - y0) / (y1 - y0));
    const words = data.series.map((s) => `${s.name} ${format(s.values.findLast(known))}`).join(", ");
    const chart = svg("svg", { class: "plot", role: "img", width, height, viewBox: `0 0 ${width} ${height}`,
      "aria-label": `${name} by round, from ${first} to ${last}. Last known: ${words}.` });
    for (const mark of marks) {
      chart.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(mark), y2: y(mark) }),
        label(share ? percent(mark, 0) : format(mark), left - 7, y(mark) + 4, { class: "quiet", "text-anchor": "end" }));
    }
    for (const at of roundTicks(first, last, width)) {
      chart.append(label(at, x(at), height - 7, { class: "quiet", "text-anchor": "middle" }));
    }
    data.series.forEach((s, i) => chart.append(...path(s, i, data.x, x, y)));
    const cursor = svg("line", { class: "cursor", y1: top, y2: height - bottom, x1: -9, x2: -9 });
    chart.append(cursor);
    const legend = legendOf(data.series.map((s, i) => ({ name: s.name, colour: s.colour ?? i, dash: DASHES[i % 6] })));
    const show = (at) => {
      const index = at ?? data.x.length - 1;
      legend.read(data.series.map((s) => format(at === null ? s.values.findLast(known) : s.values[index])),
        at === null ? "last" : `round ${data.x[index]}`);
      cursor.setAttribute("transform", `translate(${at === null ? 0 : x(data.x[index]) + 9})`);
    };
    chart.addEventListener("pointermove", (event) => {
      const where = event.clientX - chart.getBoundingClientRect().left;
      const distance = (at) => Math.abs(x(data.x[at]) - where);
      let best = 0;
      for (let at = 1; at < data.x.length; at += 1) if (distance(at) < distance(best)) best = at;
      show(best);
    });
    chart.addEventListener("pointerleave", () => show(null));
    show(null);
    return el("div", null, chart, legend.node);
  };
}

function path(series, index, rounds, x, y) {
  const colour = `s${series.colour ?? index}`;
  const found = rounds.map((round, at) => [round, series.values[at]]).filter(([, value]) => known(value));
  if (found.length === 1) return [svg("circle", { class: `dot ${colour}`, cx: x(found[0][0]), cy: y(found[0][1]), r: 3.5 })];
  const d = found.map(([round, value], at) => `${at ? "L" : "M"}${x(round).toFixed(1)} ${y(value).toFixed(1)}`).join("");
  return [svg("path", { class: `line ${colour}`, d, "stroke-dasharray": DASHES[index % 6] || null })];
}

// entries: [{name, colour, dash?}]; `read` puts a value behind each name.
export function legendOf(entries) {
  const values = entries.map(() => el("output", null));
  const where = el("li", { class: "where" });
  const items = entries.map(({ name, colour, dash }, i) => el("li", null,
    svg("svg", { class: "plot key", width: 22, height: 12, viewBox: "0 0 22 12", "aria-hidden": "true" },
      dash === undefined
        ? svg("rect", { class: `s${colour}`, x: 4, y: 0, width: 12, height: 12, rx: 3 })
        : svg("line", { class: `line s${colour}`, x1: 1, x2: 21, y1: 6, y2: 6, "stroke-dasharray": dash || null })),
    name, values[i]));
  return {
    node: el("ul", { class: "legend" }, items, where),
    read(found, words) {
      found.forEach((text, i) => { values[i].textContent = text; });
      where.textContent = words;
    },
  };
}

// Stacked columns over rounds; where there are too many to be seen, each is the mean of some.
// data: {x: [round], series: [{name, colour, values}]}.
export function columns(name, { format = number, bytes = false } = {}) {
  return (data, width) => {
    const height = 210, left = 58, right = 8, top = 10, bottom = 26;
    const bins = binned(data, Math.floor((width - left - right) / 7));
    const sums = bins.map((bin) => bin.values.reduce((a, b) => a + b, 0));
    const most = Math.max(...sums, 0) || 1, marks = bytes ? byteTicks(most) : ticks(0, most, 3);
    const y = (value) => height - bottom - (height - top - bottom) * (value / marks[marks.length - 1]);
    const step = Math.min(44, (width - left - right) / bins.length);
    const each = bins[0].last - bins[0].first + 1;
    const words = each > 1 ? `, means of ${each} rounds each` : "";
    const lastWords = data.series.map((s) => `${s.name} ${format(s.values[s.values.length - 1])}`).join(", ");
    const chart = svg("svg", { class: "plot", role: "img", width, height, viewBox: `0 0 ${width} ${height}`,
      "aria-label": `${name} by round${words}. Last round: ${lastWords}.` });
    for (const mark of marks) {
      chart.append(svg("line", { class: "grid", x1: left, x2: width - right, y1: y(mark), y2: y(mark) }),
        label(format(mark), left - 7, y(mark) + 4, { class: "quiet", "text-anchor": "end" }));
    }
    let labelled = -99;
    bins.forEach((bin, at) => {
      const x = left + at * step;
      let below = 0;
      const column = svg("g", null, svg("title", null, `${span(bin)}: ${data.series.map((s, i) =>
        `${s.name} ${format(bin.values[i])}`).join(", ")}`));
      bin.values.forEach((value, i) => {
        if (value > 0) {
          column.append(svg("rect", { class: `s${data.series[i].colour ?? i} piece`, x: x + step * 0.1, width: step * 0.8,
            y: y(below + value), height: Math.max(0, y(below) - y(below + value)) }));
        }
        below += value;
      });
      chart.append(column);
      if (x - labelled >= 40 && (bins.length <= 12 || at % 5 === 0)) {
        chart.append(label(bin.first, x + step / 2, height - 7, { class: "quiet", "text-anchor": "middle" }));
        labelled = x;
      }
    });
    const legend = legendOf(data.series.map((s, i) => ({ name: s.name, colour: s.colour ?? i })));
    legend.read(data.series.map((s) => format(s.values[s.values.length - 1])), each > 1 ? words.slice(2) : "last round");
    return el("div", null, chart, legend.node);
  };
}

const span = (bin) => bin.first === bin.last ? `Round ${bin.first}` : `Rounds ${bin.first} to ${bin.last}`;

function binned(data, most) {
  const each = Math.max(1, Math.ceil(data.x.length / Math.max(1, most)));
  const bins = [];
  for (let at = 0; at < data.x.length; at += each) {
    const end = Math.min(at + each, data.x.length);
    bins.push({
      first: data.x[at], last: data.x[end - 1],
      values: data.series.map((s) => mean(s.values.slice(at, end).filter(known))),
    });
  }
  return bins;
}

const mean = (values) => values.length ? values.reduce((a, b) => a + b, 0) / values.length : null;

// Horizontal stacked bars with names: rows: [{name, parts: [{name, colour, value}], note, live}].
export function timeline(name, { format = number } = {}) {
  return (rows, width) => {
    const left = 72, right = 84, step = 27, height = rows.length * step + 4;
    const longest = Math.max(...rows.map((r) => r.parts.reduce((a, p) => a + p.value, 0)), 1e-9);
    const chart = svg("svg", { class: "plot", role: "img", width, height, viewBox: `0 0 ${width} ${height}`,
      "aria-label": `${name}: ${plural(rows.length, "round")}. ${rows[0].name}: ${rows[0].parts.map((p) =>
        `${p.name} ${format(p.value)}`).join(", ")}.` });
    rows.forEach((row, at) => {
      const y = at * step + 3;
      chart.append(label(row.name, left - 9, y + 15, { class: row.live ? "strong" : "quiet", "text-anchor": "end" }));
      let x = left;
      for (const part of row.parts) {
        const wide = (width - left - right) * (part.value / longest);
        const piece = svg("g", null, svg("title", null, `${row.name}, ${part.name}: ${format(part.value)}`),
          svg("rect", { class: `s${part.colour} piece`, x, y, width: Math.max(wide, 0.5), height: 21, rx: 3 }));
        if (wide > part.name.length * 7 + 12) {
          piece.append(svg("rect", { class: "tag", x: x + 4, y: y + 3, width: part.name.length * 6.4 + 8, height: 15, rx: 3 }),
            label(part.name, x + 8, y + 14.5, { class: "small" }));
        }
        chart.append(piece);
        x += wide;
      }
      const total = row.parts.reduce((a, p) => a + p.value, 0);
      chart.append(label(row.live ? `${format(total)} …` : format(total), x + 7, y + 15, { class: row.live ? "strong" : "quiet" }));
    });
    return chart;
  };
}

// Rows of shades over rounds: {x: [round], rows: [{name, values 0..1}]}; the last value stands beside each row.
export function heat(name) {
  return (data, width) => {
    const step = data.rows.length > 20 ? 15 : 20;
    const left = 30 + 6 * Math.max(...data.rows.map((r) => String(r.name).length));
    const right = 54, bottom = 24, height = data.rows.length * step + bottom;
    const bins = binned({ x: data.x, series: data.rows }, Math.floor((width - left - right) / 7));
    const wide = Math.min(48, (width - left - right) / bins.length);
    const worst = [...data.rows].sort((a, b) => lastOf(a) - lastOf(b))[0];
    const chart = svg("svg", { class: "plot", role: "img", width, height, viewBox: `0 0 ${width} ${height}`,
      "aria-label": `${name} by round; lowest now: ${worst.name} with ${percent(lastOf(worst))}.` });
    data.rows.forEach((row, i) => {
      const y = i * step;
      chart.append(label(row.name, left - 8, y + step - 5, { class: "quiet", "text-anchor": "end" }));
      bins.forEach((bin, at) => {
        const value = bin.values[i];
        const shade = known(value) ? `heat h${Math.round(Math.min(1, Math.max(0, value)) * 10)}` : "blank";
        chart.append(svg("rect", { class: shade, x: left + at * wide, y: y + 1, width: Math.max(wide - 1, 1),
          height: step - 2, rx: 2 }, svg("title", null, `${row.name}, ${span(bin).toLowerCase()}: ${percent(value)}`)));
      });
      chart.append(label(percent(lastOf(row), 0), left + bins.length * wide + 6, y + step - 5, { class: "strong" }));
    });
    const marks = bins.length > 1 ? [0, bins.length - 1] : [0];
    for (const at of marks) {
      chart.append(label(`round ${at === 0 ? bins[at].first : bins[at].last}`, left + at * wide + (at ? wide : 0), height - 6,
        { class: "quiet", "text-anchor": at ? "end" : "start" }));
      if (bins.length * wide < 130) break;
    }
    return chart;
  };
}

const lastOf = (row) => row.values.findLast(known) ?? 0;

// Bars from a common zero, some with an interval: rows: [{name, value, low, high, note, out}]; `out`: marked.
export function bars(name, { format = number } = {}) {
  return (rows, width) => {
    const left = Math.min(150, width * 0.34), right = 62, step = 24, height = rows.length * step + 4;
    const ends = rows.flatMap((r) => [r.value, r.low, r.high]).filter(known);
    const low = Math.min(0, ...ends), high = Math.max(0, ...ends) || 1;
    const x = (value) => left + (width - left - right) * ((value - low) / (high - low));
    const chart = svg("svg", { class: "plot", role: "img", width, height, viewBox: `0 0 ${width} ${height}`,
      "aria-label": `${name}: ${rows.slice(0, 5).map((r) => `${r.name} ${format(r.value)}`).join(", ")}.` });
    const fits = Math.floor((left - 8) / 7);
    rows.forEach((row, at) => {
      const y = at * step + 3;
      const short = row.name.length > fits ? `${row.name.slice(0, fits - 1)}…` : row.name;
      const bar = svg("g", null, svg("title", null, `${row.name}: ${format(row.value)}${row.note ? `, ${row.note}` : ""}`),
        label(short, left - 8, y + 14, { "text-anchor": "end" }),
        svg("rect", { class: row.value < 0 || row.out ? "s1" : "s0", x: Math.min(x(0), x(row.value)), y, rx: 3, height: 18,
          width: Math.max(1, Math.abs(x(row.value) - x(0))) }));
      if (known(row.low) && known(row.high)) {
        for (const kind of ["whisker under", "whisker"]) {
          bar.append(svg("line", { class: kind, x1: x(row.low), x2: x(row.high), y1: y + 9, y2: y + 9 }));
        }
      }
      bar.append(label(`${format(row.value)}${row.out ? " ✕" : ""}`, Math.max(x(0), x(row.value), known(row.high) ? x(row.high) : 0) + 6, y + 14,
        { class: "quiet" }));
      chart.append(bar);
    });
    chart.append(svg("line", { class: "axis", x1: x(0), x2: x(0), y1: 0, y2: height }));
    return chart;
  };
}

// The table of series over rounds, newest first.
export const seriesTable = (caption, format) => (data) =>
  table(caption, [
    { name: "Round", of: (at) => String(data.x[at]) },
    ...data.series.map((s) => ({ name: s.name, numeric: true, of: (at) => format(s.values[at]) })),
  ], data.x.map((_, at) => data.x.length - 1 - at), { hidden: true });
