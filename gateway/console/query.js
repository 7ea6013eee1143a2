// The query box: SQL in, rows that scroll. The newest rows are kept, so many of them; the next are
// read only once these are drawn, so a page that is slow slows the query and not itself.

import { answered } from "./actions.js";
import { make, mark, say } from "./dom.js";
import { count, plural } from "./format.js";

const ROWS_MAX = 1000;
const AT_BOTTOM_PX = 24;
const ENDS = { completed: "That is all", limit: "Its LIMIT is reached", closed: "It was closed" };

export class QueryBox {
  constructor() {
    const at = (id) => document.getElementById(id);
    this.form = at("query-form");
    this.sql = at("sql");
    this.from = at("from");
    this.run = at("run");
    this.stop = at("stop");
    this.outcome = at("outcome");
    this.results = at("results");
    this.head = at("result-head");
    this.body = at("result-rows");
    this.running = null;
    this.form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.start();
    });
    this.stop.addEventListener("click", () => this.cancel());
    this.sql.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.start();
      if (event.key === "Escape") this.cancel();
    });
  }

  suggest(name) {
    this.sql.value = `SELECT * FROM ${name} EMIT CHANGES;`;
    this.sql.focus();
  }

  cancel() {
    this.running?.abort();
  }

  async start() {
    const sql = this.sql.value.trim();
    if (!sql || this.running) return;
    const running = new AbortController();
    this.#begin(running);
    try {
      await this.#read(await this.#asked(sql, running.signal));
    } catch (error) {
      if (running.signal.aborted) this.#tell(`Stopped after ${plural(this.rows, "row", "rows")}.`);
      else this.#tell(error.message, "alarm");
    } finally {
      this.#over();
    }
  }

  // ── one query ──

  #begin(running) {
    this.running = running;
    this.rows = 0;
    this.run.disabled = true;
    this.stop.disabled = false;
    this.body.replaceChildren();
    this.head.replaceChildren();
    this.#tell("Running.");
  }

  #over() {
    // Who pressed Stop keeps a place for the keyboard.
    const hadFocus = document.activeElement === this.stop;
    this.running = null;
    this.run.disabled = false;
    this.stop.disabled = true;
    if (hadFocus) this.run.focus();
  }

  async #asked(sql, signal) {
    const body = JSON.stringify({ sql, properties: { "auto.offset.reset": this.from.value } });
    const response = await fetch("query", { method: "POST", body, signal, headers: { "content-type": "application/json" } });
    if (!response.ok) await answered(response);
    return response;
  }

  async #read(response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    let ended = false;
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      ended = this.#take(lines) || ended;
      await drawn();
    }
    if (!ended) throw new Error("The gateway broke off its answer.");
  }

  #take(lines) {
    const rows = [];
    let ended = false;
    for (const line of lines) {
      if (line.startsWith("[")) rows.push(line);
      else if (line) ended = this.#word(JSON.parse(line), rows.length) || ended;
    }
    if (rows.length) this.#add(rows);
    if (rows.length && !ended) this.#tell(this.#soFar());
    return ended;
  }

  // The header, the end, or an error. True at the end.
  #word(document, coming) {
    if (document.query) {
      this.#columns(document.query.columns);
      return false;
    }
    if (!document.end) throw new Error(document.message ?? "The query broke.");
    this.#tell(`${ENDS[document.end] ?? document.end}: ${plural(this.rows + coming, "row", "rows")}.${this.#kept(coming)}`);
    return true;
  }

  #columns(columns) {
    this.numeric = columns.map((column) => /^(BIGINT|INTEGER|DOUBLE|DECIMAL)/.test(column.type));
    this.head.replaceChildren(...columns.map((column, at) =>
      make("th", { scope: "col", class: this.numeric[at] ? "number" : null }, column.name, make("small", {}, column.type))));
    this.results.hidden = false;
    this.#tell("Running: no row yet.");
  }

  #add(lines) {
    const pinned = this.results.scrollHeight - this.results.scrollTop - this.results.clientHeight < AT_BOTTOM_PX;
    this.rows += lines.length;
    this.body.append(...lines.slice(-ROWS_MAX).map((line) => this.#row(exact(line))));
    for (let over = this.body.children.length - ROWS_MAX; over > 0; over -= 1) this.body.firstElementChild.remove();
    if (pinned) this.results.scrollTop = this.results.scrollHeight;
  }

  #row(values) {
    return make("tr", {}, ...values.map((value, at) => {
      if (value === null) return make("td", { class: "null" }, "null");
      return make("td", { class: this.numeric[at] ? "number" : null }, typeof value === "object" ? JSON.stringify(value) : String(value));
    }));
  }

  #soFar() {
    return `Running: ${plural(this.rows, "row", "rows")} so far.${this.#kept(0)}`;
  }

  #kept(coming) {
    return this.rows + coming > ROWS_MAX ? ` The last ${count(ROWS_MAX)} are shown.` : "";
  }

  #tell(text, tone = null) {
    mark(this.outcome, tone);
    say(this.outcome, text);
  }
}

// Numbers beyond 2^53 keep their digits where the browser tells how they were written.
function exact(line) {
  return JSON.parse(line, (_, value, context) =>
    typeof value === "number" && context?.source ? context.source : value);
}

function drawn() {
  return new Promise((resolve) => {
    setTimeout(resolve, 40);
  });
}
