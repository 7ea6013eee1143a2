// The sections below the vitals: which columns each table has, and what its buttons do.

import { act, confirmed } from "./actions.js";
import { Table, button, code, keep, make, say, sub, tag } from "./dom.js";
import { ago, bytes, count, latency, plural } from "./format.js";

const MOVING = new Set(["SUBMITTING", "RUNNING"]);
const ALARMED = new Set(["HELD", "FAILED"]);
const path = encodeURIComponent;

// ── batches ──

function tone(state) {
  if (ALARMED.has(state)) return "alarm";
  return MOVING.has(state) ? null : "quiet";
}

function stage(batch) {
  if (batch.stage === null) return batch.error ?? "";
  const [number, phase] = batch.stage.split(":");
  const words = [`stage ${number}`];
  if (phase) words.push(phase.toLowerCase().replaceAll("_", " "));
  if (batch.workers) words.push(plural(batch.workers, "worker", "workers"));
  return words.join(" · ");
}

function state(batch) {
  const parts = [tag(batch.state.toLowerCase(), tone(batch.state))];
  if (batch.attempt > 1) parts.push(make("span", { class: "dim" }, ` attempt ${batch.attempt}`));
  const words = stage(batch);
  return words ? [...parts, sub(words)] : parts;
}

// A task reads its rows first and writes them after: half of the bar is for each.
function progress(batch) {
  const { rows, rowsRead: read, rowsWritten: written } = batch;
  if (read === null && written === null) return count(rows);
  const words = written === null ? `${count(read)} of ${count(rows)} read` : `${count(written)} of ${count(rows)} written`;
  const value = (read ?? rows) + (written ?? 0);
  return [words, make("progress", { max: 2 * rows || 1, value, "aria-label": `Progress of batch ${batch.id}` })];
}

const BATCHES = {
  label: "Batches on their way",
  empty: "Nothing is on its way: every row that came is committed.",
  keyOf: (batch) => batch.id,
  columns: [
    { head: "Batch", class: "wide", live: true, cell: (batch) => [make("code", {}, batch.taskId)] },
    { head: "Stream", cell: (batch) => named(batch.stream, batch.datasource) },
    { head: "State", live: true, cell: state },
    { head: "Rows", class: "number", live: true, cell: progress },
    { head: "Size", class: "number", cell: (batch) => bytes(batch.sizeBytes) },
    { head: "Sealed", class: "number", live: true, cell: (batch, now) => ago(batch.sealedMs, now) },
  ],
};

const COMMITTED = {
  label: "Batches that were committed last",
  empty: "None yet, as far as is remembered.",
  keyOf: (batch) => batch.id,
  columns: [
    { head: "Batch", class: "wide", cell: (batch) => [make("code", {}, batch.taskId)] },
    { head: "Stream", cell: (batch) => batch.stream },
    { head: "Rows", class: "number", cell: (batch) => count(batch.rows) },
    { head: "Size", class: "number", cell: (batch) => bytes(batch.sizeBytes) },
    { head: "Segments", class: "number", cell: (batch) => count(batch.segments) },
    { head: "Task took", class: "number", cell: (batch) => latency(batch.durationMs === null ? null : batch.durationMs / 1000) },
    { head: "Committed", class: "number", live: true, cell: (batch, now) => ago(batch.committedMs, now) },
  ],
};

const HELD = {
  label: "Batches that wait for you",
  empty: "",
  keyOf: (batch) => batch.id,
  columns: [
    { head: "Batch", class: "wide", cell: (batch) => [make("code", {}, batch.taskId), sub(batch.stream)] },
    { head: "State", cell: (batch) => [tag(batch.state.toLowerCase(), "alarm")] },
    { head: "Why", class: "wide", live: true, cell: (batch) => batch.error ?? "no reason is known" },
    { head: "Rows", class: "number", cell: (batch) => count(batch.rows) },
    { head: "", class: "acts", cell: verdicts },
  ],
};

function verdicts(batch) {
  const at = `batches/${path(batch.id)}`;
  const rows = plural(batch.rows, "row", "rows");
  return [
    button("Retry", `Retry batch ${batch.id}`, () => act("POST", `${at}/retry`, `Batch ${batch.id} is tried again.`)),
    button("Accept", `Accept batch ${batch.id}`, async () => {
      if (await confirmed("Take it for committed?", `You have seen all ${rows} of ${batch.id} in ${batch.datasource}. They will not be sent again.`, "Accept")) {
        await act("POST", `${at}/accept`, `Batch ${batch.id} counts as committed.`);
      }
    }),
    button("Drop", `Drop batch ${batch.id}`, async () => {
      if (await confirmed("Drop this batch?", `Its ${rows} go to the dead letters of ${batch.stream}.`, "Drop")) {
        await act("POST", `${at}/drop`, `Batch ${batch.id} was dropped: its rows are dead letters.`);
      }
    }, "danger"),
  ];
}

function named(stream, datasource) {
  return stream === datasource ? stream : [stream, sub(datasource)];
}

// ── streams, queries, letters ──

const STREAMS = {
  label: "Open insert streams",
  empty: "Nobody inserts now.",
  keyOf: (stream) => stream.key,
  columns: [
    { head: "Into", cell: (stream) => named(stream.target, stream.principal ?? stream.target) },
    { head: "Channel", cell: (stream) => stream.channel ?? "–" },
    { head: "Rows", class: "number", live: true, cell: (stream) => count(stream.rows) },
    { head: "Not acked", class: "number", live: true, cell: (stream) => count(stream.rows - stream.acked) },
    { head: "Waiting", class: "number", live: true, cell: (stream) => bytes(stream.waitingBytes) },
  ],
};

const QUERIES = {
  label: "Queries that run",
  empty: "Nobody asks anything now.",
  keyOf: (query) => query.id,
  columns: [
    { head: "Query", class: "wide", cell: (query) => [code(query.sql), sub(query.id)] },
    { head: "Kind", cell: (query) => [tag(query.kind.toLowerCase(), query.kind === "PUSH" ? null : "quiet")] },
    { head: "Rows out", class: "number", live: true, cell: (query) => count(query.rowsDelivered) },
    { head: "Behind", class: "number", live: true, cell: (query) => count(query.entriesBehind) },
    { head: "", class: "acts", cell: closing },
  ],
};

function closing(query) {
  return [button("Close", `Close query ${query.id}`,
    () => act("POST", `queries/${path(query.id)}/close`, `Query ${query.id} is closed.`))];
}

const LETTERS = {
  label: "Dead letters",
  empty: "No row waits for you: all that came could be stored.",
  keyOf: (letter) => letter.id,
  columns: [
    { head: "Id", class: "number", cell: (letter) => String(letter.id) },
    { head: "Stream", cell: (letter) => named(letter.stream, letter.channel === null ? letter.stream : `${letter.channel} @ ${letter.offset}`) },
    { head: "Why", class: "wide", cell: (letter) => [letter.message, sub(letter.code)] },
    { head: "Row", class: "wide", cell: (letter) => [code(letter.row)] },
    { head: "Since", class: "tight", live: true, cell: (letter, now) => ago(letter.atMs, now) },
    { head: "", class: "acts", cell: letterVerdicts },
  ],
};

function letterVerdicts(letter) {
  const at = `dead-letters/${letter.id}`;
  return [
    button("Retry", `Retry dead letter ${letter.id}`, () => act("POST", `${at}/retry`, `Dead letter ${letter.id} is on its way again.`)),
    button("Drop", `Drop dead letter ${letter.id}`, async () => {
      if (await confirmed("Drop this row?", `The row of dead letter ${letter.id} (${letter.stream}) is given up for good.`, "Drop")) {
        await act("DELETE", at, `Dead letter ${letter.id} was dropped.`);
      }
    }, "danger"),
  ];
}

// ── the catalogue ──

function source(found, query) {
  const list = make("dl");
  const text = `${found.kind.toLowerCase()} · ${found.datasource}${found.ack ? ` · acks ${found.ack}` : ""}`;
  const watch = button("Watch", `Watch ${found.name}: put a push query into the query box`, async () => query.suggest(found.name));
  return make("article", { class: "source" }, make("h3", {}, found.name), make("p", {}, text), list, watch);
}

function columns(article, found) {
  const items = found.columns.map((column, at) => ({ key: `${at} ${column.name} ${column.type}`, ...column }));
  const list = article.querySelector("dl");
  const seen = items.map((item) => item.key).join("\n");
  if (list.headraceSeen === seen) return;
  list.headraceSeen = seen;
  list.replaceChildren(...items.flatMap((item) => [make("dt", {}, item.name), make("dd", {}, item.type)]));
}

// ── all of them ──

export class Sections {
  constructor(query) {
    const tables = { batches: BATCHES, committed: COMMITTED, held: HELD, streams: STREAMS, queries: QUERIES, deadLetters: LETTERS };
    this.query = query;
    this.tables = Object.entries(tables).map(([name, columns]) =>
      [name, new Table(document.querySelector(`[data-table="${name}"]`), columns)]);
    this.sources = make("div", { class: "source-list" });
    this.noSources = make("p", { class: "empty" }, "None is declared. CREATE STREAM on the front door declares one.");
    document.getElementById("source-list").append(this.noSources, this.sources);
  }

  show(picture) {
    const more = {
      deadLetters: `The newest ${picture.deadLetters?.items.length} of ${count(picture.deadLetters?.total)}: \`headrace dead-letters\` has them all.`,
    };
    for (const [name, table] of this.tables) {
      if (picture[name]) table.show(name === "streams" ? keyed(picture[name]) : picture[name], picture.atMs, more[name] ?? null);
    }
    document.getElementById("held").hidden = !picture.held?.total;
    keep(this.sources, picture.sources.items, (found) => found.name, (found) => source(found, this.query), columns);
    this.noSources.hidden = picture.sources.total > 0;
    for (const badge of document.querySelectorAll("[data-count]")) {
      const total = picture[badge.dataset.count]?.total ?? 0;
      say(badge, total ? count(total) : "");
      if (badge.dataset.count === "deadLetters" && total) badge.dataset.tone = "alarm";
    }
  }
}

// Streams have no id of their own: those of one target and channel are told apart by their order.
function keyed({ items, total }) {
  const seen = new Map();
  const named = items.map((stream) => {
    const name = `${stream.target}\n${stream.channel ?? ""}\n${stream.principal ?? ""}`;
    seen.set(name, (seen.get(name) ?? 0) + 1);
    return { key: `${name}\n${seen.get(name)}`, ...stream };
  });
  return { items: named, total };
}
