// Every client: found by name, filtered by what it does, sorted by any column; a page at a time.

import { byId, count, el, known, percent, plural, say, size, time, when } from "./dom.js";
import { reason } from "./words.js";

const EACH = 25;
const MARKS = [
  [/^(received|agreeing|finished)/, "✔"], [/^(training|uploading|downloading|evaluating|choosing)/, "▶"], [/^gone/, "✕"],
  [/^away/, "☾"], [/^refused/, "✕"], [/^quarantined/, "✕"],
];

const mark = (state) => MARKS.find(([kind]) => kind.test(state))?.[1] ?? "○";
const stateOf = (c) => c.held ? `held back: ${reason(c.held)}` : c.state.startsWith("refused: ")
  ? `refused: ${reason(c.state.slice(9))}` : c.state;
const memory = (c) => c.machine?.gpu_memory_bytes ? `${size(c.machine.gpu_memory_bytes)} of GPU` : c.machine?.rss_bytes ? size(c.machine.rss_bytes) : "–";

const COLUMNS = [
  { name: "Client", key: (c) => c.name },
  { name: "State", key: (c) => stateOf(c), wide: true },
  { name: "In the round", key: (c) => (c.in_cohort ? 1 + (c.progress || 0) : 0) },
  { name: "In sums", key: (c) => c.accepted ?? -1, text: (c) => count(c.accepted), numeric: true },
  { name: "Left out", key: (c) => c.excluded ?? -1, text: (c) => count(c.excluded), numeric: true },
  { name: "Last heard", key: (c) => c.last_seen_s ?? Infinity,
    text: (c) => known(c.last_seen_s) ? (c.last_seen_s < 3 ? "now" : `${time(Math.floor(c.last_seen_s))} ago`) : "–", numeric: true },
  { name: "Trains for", key: (c) => c.machine?.train_seconds ?? -1, text: (c) => time(c.machine?.train_seconds), numeric: true },
  { name: "Memory", key: (c) => c.machine?.gpu_memory_bytes ?? c.machine?.rss_bytes ?? -1, text: memory, numeric: true },
  { name: "Device", key: (c) => c.device, text: (c) => c.device || "–" },
  { name: "Certificate ends", key: (c) => c.expires_at ?? Infinity, text: (c) => when(c.expires_at) },
  { name: "Software", key: (c) => c.software, text: (c) => c.software || "–" },
];
const KINDS = {
  all: ["all", () => true], connected: ["connected", (c) => c.connected], gone: ["not connected", (c) => !c.connected],
  asked: ["asked in this round", (c) => c.in_cohort], waited: ["waited for", (c) => c.in_cohort && c.state !== "received"],
  out: ["left out before, or held back", (c) => (c.excluded ?? 0) > 0 || c.held],
};

let clients = [], page = 0, sorted = 0, down = false;
const restart = () => { page = 0; draw(); };
const filter = el("input", { id: "client-filter", type: "search", autocomplete: "off", spellcheck: "false", on: { input: restart } });
const kind = el("select", { id: "client-kind", on: { change: restart } },
  Object.entries(KINDS).map(([value, [name]]) => el("option", { value }, name)));
const heads = COLUMNS.map((column, at) => el("th", { scope: "col", class: column.numeric ? "n" : null },
  el("button", { type: "button", on: { click: () => sort(at) } }, column.name)));
const body = el("tbody");
const said = el("span", { role: "status" });
const before = el("button", { type: "button", on: { click: () => turn(-1) } }, "Previous");
const after = el("button", { type: "button", on: { click: () => turn(1) } }, "Next");
const whole = el("div", { class: "clients" },
  el("div", { class: "tools" },
    el("div", null, el("label", { for: "client-filter" }, "Find by name, state, device"), filter),
    el("div", null, el("label", { for: "client-kind" }, "Show"), kind)),
  el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": "Clients" },
    el("table", null, el("caption", { class: "unseen" }, "Clients; a column's heading sorts by it"),
      el("thead", null, el("tr", null, heads)), body)),
  el("div", { class: "pages" }, before, after, said));

function sort(at) {
  down = sorted === at ? !down : Boolean(COLUMNS[at].numeric);
  sorted = at;
  restart();
}

function turn(by) {
  page += by;
  draw();
}

export function table(found) {
  clients = found;
  const box = byId("client-table");
  if (box.firstElementChild !== whole) box.replaceChildren(whole);
  draw();
}

function compare(a, b) {
  const [x, y] = [COLUMNS[sorted].key(a), COLUMNS[sorted].key(b)];
  const way = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x < y ? -1 : x > y ? 1 : 0;
  return (down ? -way : way) || a.name.localeCompare(b.name, "en", { numeric: true });
}

// Cells are changed in place: what somebody has marked or looks at stays.
function draw() {
  const wanted = filter.value.trim().toLowerCase(), allowed = KINDS[kind.value][1];
  const found = clients.filter((c) => allowed(c) && `${c.name} ${stateOf(c)} ${c.device}`.toLowerCase().includes(wanted))
    .sort(compare);
  const pages = Math.max(1, Math.ceil(found.length / EACH));
  page = Math.min(Math.max(0, page), pages - 1);
  const rows = found.slice(page * EACH, (page + 1) * EACH);
  while (body.children.length > Math.max(rows.length, 1)) body.lastChild.remove();
  if (!rows.length) {
    body.replaceChildren(el("tr", null, el("td", { colspan: COLUMNS.length, class: "quiet" },
      clients.length ? "No client is like that." : "No client is connected. Invite one: roughfed invite NAME")));
  } else {
    if (body.firstElementChild?.children.length !== COLUMNS.length) body.replaceChildren();
    rows.forEach((client, at) => update(body.children[at] ?? body.appendChild(empty()), client));
  }
  heads.forEach((head, at) => {
    const order = at !== sorted ? "none" : down ? "descending" : "ascending";
    if (head.getAttribute("aria-sort") !== order) head.setAttribute("aria-sort", order);
    say(head.firstElementChild, `${COLUMNS[at].name}${at !== sorted ? "" : down ? " ▼" : " ▲"}`);
  });
  before.hidden = after.hidden = pages === 1;
  before.disabled = page === 0;
  after.disabled = page >= pages - 1;
  const first = page * EACH + 1;
  say(said, found.length ? `${first} to ${first + rows.length - 1} of ${plural(found.length, "client")}` : "0 clients");
}

function empty() {
  return el("tr", null, COLUMNS.map((column, at) => at === 0 ? el("th", { scope: "row" })
    : el("td", { class: column.numeric ? "n" : column.wide ? "wrap" : null })));
}

function update(row, client) {
  COLUMNS.forEach((column, at) => {
    const cell = row.children[at];
    if (at === 2) part(cell, client);
    else say(cell, at === 0 ? client.name : at === 1 ? `${mark(client.state)} ${stateOf(client)}` : column.text(client));
  });
  if (row.firstElementChild.title !== client.name) row.firstElementChild.title = client.name;
}

// Whether the open round asked it, and how far its training is.
function part(cell, client) {
  const busy = client.in_cohort && client.state === "training";
  if (!busy) {
    say(cell, client.in_cohort ? (client.state === "received" ? "update is here" : "asked") : "–");
    return;
  }
  if (cell.firstElementChild?.tagName !== "PROGRESS") {
    cell.replaceChildren(el("progress", { max: 1, "aria-hidden": "true" }), el("span"));
  }
  cell.firstElementChild.value = client.progress;
  say(cell.lastElementChild, percent(client.progress, 0));
}
