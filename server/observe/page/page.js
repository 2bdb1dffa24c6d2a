// Starts the page: hears of the server's status and rounds, and lets each section draw what is new.

import { table as clients } from "./clients.js";
import { Connection } from "./connection.js";
import { defence, groups } from "./defence.js";
import { byId, say, show } from "./dom.js";
import { health } from "./health.js";
import { learning } from "./learning.js";
import { alerts, figures, header, spoken, title } from "./overview.js";
import { matrix, participation } from "./participation.js";
import { timing, traffic } from "./rounds.js";
import { heterogeneity } from "./heterogeneity.js";
import { learn } from "./words.js";

const STATES = {
  connecting: "connecting", live: "live", reconnecting: "not connected, trying again", ended: "the server has ended",
  locked: "token needed",
};

let status = null, came = 0, head = null, rounds = [], stamp = 0, state = "connecting", drawing = false;

const connection = new Connection({
  status(found) { status = found; came = performance.now(); soon(); },
  rounds(found, all) { head = found; rounds = all; stamp += 1; soon(); },
  state(word, detail = "") {
    state = word;
    const pill = byId("connection");
    pill.dataset.state = word;
    say(pill, detail && word !== "locked" ? `${STATES[word]}: ${detail}` : STATES[word]);
    const locked = byId("locked"), opens = locked.hidden && word === "locked";
    show(locked, word === "locked");
    if (word === "locked") say(byId("token-said"), detail);
    if (opens) byId("token").focus();
    soon();
  },
});

byId("token-form").addEventListener("submit", (event) => {
  event.preventDefault();
  const field = byId("token");
  connection.unlock(field.value.trim());
  field.value = "";
});

// Draws once a frame, however much comes.
function soon() {
  if (drawing) return;
  drawing = true;
  (document.hidden ? (act) => setTimeout(act, 500) : requestAnimationFrame)(() => { drawing = false; draw(); });
}

function draw() {
  document.title = title(status, state);
  if (!status) {
    if (state === "locked") say(byId("phase"), "What it does is not for everybody to see.");
    return;
  }
  document.body.dataset.known = "";
  tick();
  say(byId("spoken"), spoken(status));
  alerts(status);
  figures(status, rounds);
  const key = `${stamp} ${status.run}`;
  learning(key, rounds);
  traffic(key, head, rounds);
  participation(key, rounds);
  matrix(key, rounds);
  heterogeneity([key, status.heterogeneity], status.heterogeneity, rounds);
  defence([status.defence, status.quarantined], status.defence, status.quarantined);
  const last = rounds[rounds.length - 1];
  groups([status.groups, last?.groups, last?.round], status.groups, last?.groups, status.groups?.length ? status.round : last?.round);
  show(byId("heterogeneity-link"), !byId("heterogeneity").hidden);
  clients(status.clients);
  const minute = Math.floor(Date.now() / 60000);
  health([status.certificates, status.disk, status.clients.map((c) => c.expires_at), minute], status);
  say(byId("foot"), `roughfed ${status.version} · this page asks no other machine for anything`);
}

// What moves by itself: elapsed times, and the bar of the open phase.
function tick() {
  if (!status) return;
  const since = state === "live" ? (performance.now() - came) / 1000 : 0;
  header(status, since);
  timing(status, rounds, since);
}

setInterval(() => { if (!document.hidden) tick(); }, 1000);
document.addEventListener("visibilitychange", () => { if (!document.hidden) soon(); });
await learn().catch(() => null);
connection.start();
