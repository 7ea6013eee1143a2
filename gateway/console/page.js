// The live page: pictures come as server-sent events, each is shown whole. Nothing is kept between
// two of them, so a page that was away shows the truth with the next.

import { draw } from "./charts.js";
import { mark, say } from "./dom.js";
import { ago, bytes, clock, count, latency, plural, rate, span } from "./format.js";
import { QueryBox } from "./query.js";
import { Sections } from "./sections.js";

const AGAIN_MS = 1000;
const ANNOUNCE_MS = 30000;
const SILENT_MS = 15000;

const at = (id) => document.getElementById(id);
const STATES = {
  RUNNING: ["Running", null],
  STARTING: ["Starting", "quiet"],
  STOPPING: ["Draining", "alarm"],
  STOPPED: ["Stopped", "alarm"],
};

// ── vitals ──

function showVitals(picture) {
  const { rates, totals, ackLatency, history } = picture;
  const acked = sum(rates.acked);
  say(at("rows-in"), rate(rates.rowsIn));
  say(at("rows-in-note"), `${bytes(rates.bytesIn)}/s · ${count(totals.rowsIn)} since the start`);
  say(at("rows-acked"), rate(acked));
  say(at("rows-acked-note"), levels(rates.acked) || `${count(sum(totals.acked))} since the start`);
  say(at("latency"), latency(ackLatency.p50S));
  say(at("latency-note"), ackLatency.p99S === null ? `no ack in ${ackLatency.overS} s` : `99 % within ${latency(ackLatency.p99S)}`);
  draw(at("spark-in"), [{ values: history.rowsIn, class: "line" }]);
  draw(at("spark-acked"), [{ values: history.acked, class: "line" }]);
  draw(at("spark-latency"), [{ values: history.p50S, class: "line" }, { values: history.p99S, class: "faint" }]);
}

function levels(acked) {
  const told = Object.entries(acked).filter(([, perSecond]) => perSecond > 0);
  return told.map(([level, perSecond]) => `${rate(perSecond)} ${level}`).join(" · ");
}

function showSpool(spool) {
  if (!spool) return;
  const share = spool.storedBytes / spool.limitBytes;
  say(at("spool"), bytes(spool.storedBytes));
  say(at("spool-share"), `of ${bytes(spool.limitBytes)}`);
  at("spool-fill").value = Math.min(1, share);
  mark(at("spool-fill"), share > 0.8 || !spool.takesRows ? "alarm" : null);
  const age = spool.oldestRowAgeS;
  say(at("spool-note"), spool.why ?? (age >= 1 ? `its oldest row waits for ${span(age)}` : "no row waits long"));
}

function showHead(picture) {
  const [words, tone] = STATES[picture.state] ?? [picture.state, "quiet"];
  const away = picture.warehouse.awaySinceMs;
  say(at("state"), away === null ? words : "Warehouse away");
  mark(at("state"), away === null ? tone : "alarm");
  say(at("facts"), `${picture.version} · ${picture.warehouse.name} · up ${span((picture.atMs - picture.startedMs) / 1000)}`);
  say(at("as-of"), `As of ${clock(picture.atMs)}, by the gateway's clock. The same as JSON: GET /picture`);
  at("away").hidden = away === null;
  if (away !== null) {
    say(at("away"), `The warehouse has not answered since ${clock(away)} (${ago(away, picture.atMs)}). Rows are taken and kept on disk. ${picture.warehouse.why ?? ""}`);
  }
  document.title = picture.deadLetters?.total || picture.held?.total ? "● Headrace" : "Headrace";
}

function sum(levels) {
  return Object.values(levels).reduce((total, value) => total + value, 0);
}

// ── what a screen reader is told, now and then ──

let announcedAt = -Infinity;

function announce(picture) {
  if (performance.now() - announcedAt < ANNOUNCE_MS) return;
  announcedAt = performance.now();
  say(at("totals"), [
    `${rate(picture.rates.rowsIn)} rows in and ${rate(sum(picture.rates.acked))} acked per second`,
    plural(picture.streams.total, "insert stream", "insert streams"),
    plural(picture.batches?.total ?? 0, "batch on its way", "batches on their way"),
    plural(picture.queries.total, "query", "queries"),
    plural(picture.deadLetters?.total ?? 0, "dead letter", "dead letters"),
  ].join(", "));
}

// ── the connection ──

class Connection {
  constructor(show) {
    this.show = show;
    this.lostAt = null;
    this.heardAt = 0;
    this.events = null;
    document.addEventListener("visibilitychange", () => this.#look());
    setInterval(() => this.#watch(), SILENT_MS / 3);
    this.#look();
  }

  // A page that nobody sees costs the gateway nothing.
  #look() {
    if (document.visibilityState === "hidden") this.#close();
    else if (this.events === null) this.#open();
  }

  #open() {
    clearTimeout(this.again);
    this.heardAt = performance.now();
    this.events = new EventSource("events");
    this.events.addEventListener("picture", (event) => {
      this.heardAt = performance.now();
      this.lostAt = null;
      document.body.classList.remove("stale");
      this.show(JSON.parse(event.data));
    });
    this.events.addEventListener("end", () => this.#lost());
    this.events.addEventListener("error", () => this.#lost());
  }

  #close() {
    clearTimeout(this.again);
    this.events?.close();
    this.events = null;
  }

  #lost() {
    this.#close();
    this.lostAt ??= Date.now();
    document.body.classList.add("stale");
    say(at("state"), `Disconnected since ${clock(this.lostAt)}`);
    mark(at("state"), "alarm");
    this.again = setTimeout(() => this.#look(), AGAIN_MS);
  }

  // A machine that fell asleep, a cable that was pulled: nothing is told of those.
  #watch() {
    if (this.events !== null && performance.now() - this.heardAt > SILENT_MS) this.#lost();
  }
}

const sections = new Sections(new QueryBox());

new Connection((picture) => {
  showHead(picture);
  showVitals(picture);
  showSpool(picture.spool);
  sections.show(picture);
  announce(picture);
});
