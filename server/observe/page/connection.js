// What the server says: its status as it changes, and the rounds that are over. Reads events with fetch and not with
// EventSource, which cannot send the token in a header; in an address it would end up in logs.

const TOKEN = "roughfed-token";
const SILENT_MS = 40_000; // the server sends a comment every 15 s
const LONGEST_MS = 15_000;
const AGAIN = 4; // so many newest rounds are asked for again: their evaluations arrive later

export class Connection {
  // on: {status(status), rounds(head, rounds), state(word, detail)}
  constructor(on) {
    this.on = on;
    this.token = takeToken();
    this.rounds = new Map();
    this.run = null;
    this.failures = 0;
    this.loading = null;
    this.wake = null;
    addEventListener("online", () => this.hurry());
    document.addEventListener("visibilitychange", () => { if (!document.hidden) this.hurry(); });
  }

  async start() {
    for (;;) {
      const locked = await this.once();
      if (locked) await new Promise((go) => { this.wake = go; });
      else await this.pause();
    }
  }

  unlock(token) {
    this.token = token;
    keepToken(token);
    this.failures = 0;
    this.hurry();
  }

  hurry() {
    const go = this.wake;
    this.wake = null;
    go?.();
  }

  pause() {
    const longest = Math.min(LONGEST_MS, 500 * 2 ** Math.min(this.failures, 6));
    this.failures += 1;
    return new Promise((go) => {
      const timer = setTimeout(go, longest * (0.5 + Math.random() / 2));
      this.wake = () => { clearTimeout(timer); go(); };
    });
  }

  ask(path, signal) {
    const headers = this.token ? { Authorization: `Bearer ${this.token}` } : {};
    return fetch(path, { headers, signal, cache: "no-store", credentials: "omit", redirect: "error" });
  }

  // One connection, from its beginning to its end; returns whether a token is wanted.
  async once() {
    const stop = new AbortController();
    let timer = setTimeout(() => stop.abort(), SILENT_MS);
    try {
      const answer = await this.ask("api/events", stop.signal);
      if (answer.status === 401 || answer.status === 429) {
        this.on.state("locked", this.token ? "This is not the token." : "");
        return true;
      }
      if (!answer.ok) throw new Error(answer.status === 503 ? "too many watch" : `answer ${answer.status}`);
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let text = "";
      for (;;) {
        const { value, done } = await reader.read();
        if (done) break;
        clearTimeout(timer);
        timer = setTimeout(() => stop.abort(), SILENT_MS);
        text = this.take(text + value);
      }
      if (!this.over) this.on.state("reconnecting");
    } catch (error) {
      this.on.state(this.over ? "ended" : "reconnecting", error.message === "too many watch" ? error.message : "");
    } finally {
      clearTimeout(timer);
      stop.abort();
    }
    return false;
  }

  // Acts on the whole events of a text; returns what is left of it.
  take(text) {
    const events = text.split("\n\n");
    const rest = events.pop();
    for (const each of events) {
      const lines = each.split("\n");
      const of = (field) => lines.filter((l) => l.startsWith(`${field}: `)).map((l) => l.slice(field.length + 2));
      const [kind] = of("event");
      if (kind) this.heard(kind, of("data").join("\n"));
    }
    return rest;
  }

  heard(kind, data) {
    this.failures = 0;
    if (kind === "status") {
      const status = JSON.parse(data);
      if (this.run !== null && this.run !== status.run) this.rounds.clear();
      this.run = status.run;
      this.over = false;
      this.on.state("live");
      this.on.status(status);
    } else if (kind === "round") {
      this.load();
    } else if (kind === "end") {
      this.over = true;
      this.on.state("ended");
    }
  }

  // Reads the rounds that are new; asked while it reads, it reads once more.
  async load() {
    if (this.loading) { this.loading = "again"; return; }
    this.loading = "now";
    try {
      let more = true;
      let after = Math.max(0, ...this.rounds.keys()) - AGAIN;
      while (more) {
        const answer = await this.ask(`api/rounds?after=${Math.max(0, after)}`);
        if (!answer.ok) return;
        const { rounds, ...head } = await answer.json();
        if (Math.max(0, ...this.rounds.keys()) > head.newest) { // a backup was restored: what came later is no more
          this.rounds.clear();
          after = 0;
          continue;
        }
        for (const round of rounds) this.rounds.set(round.round, round);
        more = head.more && rounds.length > 0;
        after = rounds.length ? rounds[rounds.length - 1].round : after;
        this.on.rounds(head, [...this.rounds.values()].sort((a, b) => a.round - b.round));
      }
    } catch {
      // the stream breaks as well, and says so
    } finally {
      const again = this.loading === "again";
      this.loading = null;
      if (again) this.load();
    }
  }
}

// From `#token=...`, which a browser sends to nobody, and which leaves the address bar at once; or from this tab before.
function takeToken() {
  const found = new URLSearchParams(location.hash.slice(1)).get("token");
  if (found) {
    keepToken(found);
    history.replaceState(null, "", location.pathname + location.search);
  }
  try { return found || sessionStorage.getItem(TOKEN) || ""; } catch { return found || ""; }
}

function keepToken(token) {
  try { sessionStorage.setItem(TOKEN, token); } catch { /* a browser that keeps nothing asks again */ }
}
