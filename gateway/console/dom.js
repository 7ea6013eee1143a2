// Elements without markup: whatever came from a client is text, and only ever set as text.

// make("td", { class: "number" }, "12", child): members of `given` are attributes, null is left out.
export function make(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

// Say something else, and touch nothing where it is said already: selections and readers stay.
export function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function mark(element, tone) {
  if (tone) element.dataset.tone = tone;
  else delete element.dataset.tone;
}

// Children of `parent` become those of `items`, in their order, each kept by its key: a button that
// has the focus keeps it when rows come and go around it, or when its own moves.
export function keep(parent, items, keyOf, create, update) {
  const focused = document.activeElement;
  const keys = items.map((item) => String(keyOf(item)));
  const wanted = new Set(keys);
  const old = new Map();
  for (const child of [...parent.children]) {
    if (wanted.has(child.dataset.key)) old.set(child.dataset.key, child);
    else child.remove();
  }
  let place = parent.firstElementChild;
  items.forEach((item, at) => {
    const child = old.get(keys[at]) ?? create(item);
    child.dataset.key = keys[at];
    update(child, item);
    if (child === place) place = place.nextElementSibling;
    else parent.insertBefore(child, place);
  });
  if (focused !== document.activeElement && parent.contains(focused)) focused.focus();
}

// A table whose columns are { head, class, cell(item) → nodes or text, live }: a cell that is `live`
// is made again with each picture, all others once.
export class Table {
  constructor(place, { label, columns, keyOf, empty }) {
    this.columns = columns;
    this.keyOf = keyOf;
    this.empty = make("p", { class: "empty" }, empty);
    this.more = make("p", { class: "more", hidden: "" });
    this.body = make("tbody", { role: "rowgroup" });
    const heads = columns.map((column) =>
      make("th", { scope: "col", class: column.class, role: "columnheader" },
        column.head ? column.head : make("span", { class: "sr" }, "Actions")));
    const table = make("table", { role: "table", "aria-label": label },
      make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, ...heads)), this.body);
    this.scroll = make("div", { class: "scroll", role: "group", "aria-label": label, tabindex: "0" }, table);
    place.append(this.empty, this.scroll, this.more);
  }

  show({ items, total }, nowMs, moreText = null) {
    this.empty.hidden = items.length > 0;
    this.scroll.hidden = items.length === 0;
    keep(this.body, items, this.keyOf, (item) => this.#row(item, nowMs),
      (row, item) => this.#update(row, item, nowMs));
    this.more.hidden = total <= items.length;
    if (total > items.length) say(this.more, moreText ?? `${items.length} of ${total} are shown.`);
  }

  #row(item, nowMs) {
    const cells = this.columns.map((column) => {
      const cell = make("td", { class: column.class, role: "cell", "data-label": column.head || null });
      this.#fill(cell, column, item, nowMs);
      return cell;
    });
    return make("tr", { role: "row" }, ...cells);
  }

  #update(row, item, nowMs) {
    this.columns.forEach((column, at) => {
      if (column.live) this.#fill(row.children[at], column, item, nowMs);
    });
  }

  #fill(cell, column, item, nowMs) {
    const content = column.cell(item, nowMs);
    if (typeof content === "string") {
      say(cell, content);
      return;
    }
    const parts = [content].flat();
    // The same words and the same shape: nothing has changed that anybody could see.
    const seen = parts.map((part) => (part instanceof Element ? part.outerHTML : part)).join("");
    if (cell.headraceSeen !== seen) {
      cell.headraceSeen = seen;
      cell.replaceChildren(...parts);
    }
  }
}

// A button that does one thing at a time. It is never disabled: that would take the focus away.
export function button(text, label, act, kind = "") {
  const element = make("button", { type: "button", class: `small ${kind}`.trim(), "aria-label": label }, text);
  let busy = false;
  element.addEventListener("click", async () => {
    if (busy) return;
    busy = true;
    try {
      await act();
    } finally {
      busy = false;
    }
  });
  return element;
}

export function tag(text, tone = null) {
  return make("span", { class: "tag", "data-tone": tone }, text);
}

export function sub(text) {
  return make("span", { class: "sub" }, text);
}

const SHORT = 140;

// Text as code; what is long can be opened.
export function code(text) {
  if (text.length <= SHORT) return make("code", {}, text);
  const summary = make("summary", {}, make("code", {}, `${text.slice(0, SHORT)}…`), make("span", { class: "sr" }, " The whole text"));
  return make("details", {}, summary, make("code", {}, text));
}
