// The server itself: certificates, disk, versions.

import { byId, count, el, known, memo, plural, size, table, time, when } from "./dom.js";

const SOONEST = 8;
const SOON_S = 2 * 86400;
const ROLES = { server: "this server", ca: "the CA" };

const left = (end, now) => end <= now ? "✕ has ended" : `${end - now < SOON_S ? "▲ " : ""}in ${time(Math.floor(end - now))}`;

export const health = memo((status) => {
  const now = Date.now() / 1000;
  const own = (status.certificates ?? []).map((c) => ({ name: ROLES[c.role] ?? c.role, end: c.expires_at }));
  const others = status.clients.filter((c) => known(c.expires_at)).map((c) => ({ name: c.name, end: c.expires_at }))
    .sort((a, b) => a.end - b.end);
  const rest = others.length - SOONEST;
  const parts = [el("div", null, table("Certificates: the server's own, then the clients' that end first", [
    { name: "Of", of: (row) => row.name },
    { name: "Ends", of: (row) => when(row.end) },
    { name: "That is", of: (row) => left(row.end, now) },
  ], [...own, ...others.slice(0, SOONEST)]),
  el("p", { class: "note" }, rest > 0 ? `and ${plural(rest, "client")} later than these. ` : "",
    "Clients renew theirs by themselves at two thirds of its life."))];
  parts.push(el("div", null, el("h3", null, "Server"), el("dl", { class: "facts" }, facts(status).flatMap(([name, value]) =>
    [el("dt", null, name), el("dd", null, value)]))));
  byId("health-parts").replaceChildren(...parts);
});

function facts(status) {
  const disk = status.disk;
  const found = [["Version", `roughfed ${status.version}`]];
  if (known(status.protocol)) found.push(["Protocol", `version ${status.protocol}; journal schema ${status.schema}`]);
  if (disk && known(disk.free_bytes)) {
    const used = disk.total_bytes - disk.free_bytes, words = `${size(disk.free_bytes)} free of ${size(disk.total_bytes)}`;
    found.push(["Disk", el("span", null, el("meter", { min: 0, max: disk.total_bytes, value: used, high: disk.total_bytes * 0.9,
      low: disk.total_bytes * 0.8, optimum: 0, "aria-label": `Disk: ${words}` }), el("br"), words)]);
    found.push(["Journal", size(disk.journal_bytes)], ["Models and uploads", size(disk.blob_bytes)]);
  }
  found.push(["Parameters", count(status.parameters)], ["Model digest", el("code", null, status.model_digest)]);
  return found;
}
