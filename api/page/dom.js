// Making and changing elements. Text goes in as text: nothing here takes markup, and the page's policy forbids it too.

/** An element. `attributes`: `class`, `on` ({event: handler}), `data` ({name: text}), anything else by its own name;
 *  null and false leave one out. Children are elements, texts, or null. */
export function el(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (attribute === "on") {
      for (const [event, handler] of Object.entries(value)) made.addEventListener(event, handler);
    } else if (attribute === "data") {
      Object.assign(made.dataset, value);
    } else {
      made.setAttribute(attribute, value === true ? "" : String(value));
    }
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

/** Sets a text only where it is another one: what does not change costs no layout. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** What somebody else chose (a name, a number): isolated, so that it cannot turn the direction of what is around it. */
export function foreign(text, className = null) {
  return el("bdi", { class: className }, text);
}

/** Makes `parent` have one element for each item, in their order. Elements are kept by key, and moved only if they have
 *  to be. `make(item)` gives a new one, `update(element, item)` brings it up to date. */
export class Keyed {
  constructor(parent, key, make, update) {
    Object.assign(this, { parent, key, make, update });
    this.elements = new Map();
  }

  show(items) {
    const wanted = new Set(items.map(this.key));
    for (const [key, element] of this.elements) {
      if (!wanted.has(key)) {
        element.remove();
        this.elements.delete(key);
      }
    }
    let at = this.parent.firstChild;
    for (const item of items) {
      const key = this.key(item);
      let element = this.elements.get(key);
      if (element === undefined) {
        element = this.make(item);
        this.elements.set(key, element);
      }
      this.update(element, item);
      if (element === at) at = at.nextSibling;
      else this.parent.insertBefore(element, at);
    }
  }
}

/** A table with its caption and head. `columns`: [{title, class}]. The roles are said, since on a small screen the rows
 *  are laid out as cards, which some browsers take for the end of the table. */
export function table(caption, columns, className) {
  const heads = columns.map((column) =>
    el("th", { scope: "col", role: "columnheader", class: column.class ?? null }, column.head ?? column.title),
  );
  const body = el("tbody", { role: "rowgroup" });
  const whole = el(
    "table",
    { class: className, role: "table" },
    el("caption", { class: "unseen" }, caption),
    el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, heads)),
    body,
  );
  return { whole, body, heads };
}

export function row(...cells) {
  return el("tr", { role: "row" }, cells);
}

export function cell(attributes, ...children) {
  return el("td", { role: "cell", ...attributes }, ...children);
}

export function rowHead(attributes, ...children) {
  return el("th", { role: "rowheader", scope: "row", ...attributes }, ...children);
}
