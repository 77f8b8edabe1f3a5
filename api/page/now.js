// The calls of now: who, in which state, since when, with which agent.

import { get } from "./api.js";
import { cell, el, foreign, Keyed, row, rowHead, setText, table } from "./dom.js";
import { nowMs } from "./session.js";
import { farEnd, LIVE, plural, readable, span, statusWord } from "./words.js";

const ROWS = 100;

const byId = (a, b) => (a.id < b.id ? 1 : -1);

// By the title of their column; `first` is the order in which one would look at it first.
const SORTS = {
  began: { title: "In all", first: "ascending", compare: (a, b) => b.began - a.began || byId(a, b) },
  since: { title: "In this state", first: "descending", compare: (a, b) => (b.since ?? 0) - (a.since ?? 0) || byId(a, b) },
  agent: {
    title: "Agent",
    first: "ascending",
    compare: (a, b) => (a.agent_id ?? "\uffff").localeCompare(b.agent_id ?? "\uffff") || byId(a, b),
  },
};
const OTHER = { ascending: "descending", descending: "ascending" };

function searched(call) {
  call.words ??= [
    call.caller_name,
    call.caller_number,
    call.callee_number,
    call.agent_id,
    call.queue,
    call.campaign_id,
    call.lead_id,
  ]
    .join("\n")
    .toLowerCase();
  return call.words;
}

export class NowView {
  constructor(app) {
    this.app = app;
    this.status = null;
    this.text = "";
    this.sort = "began";
    this.order = SORTS.began.first;
    this.most = ROWS;
    this.paused = false;
    this.drawn = -1;
  }

  mount(main) {
    this.app.title("Now");
    this.tiles = new Map();
    const tiles = el("div", { class: "tiles", role: "group", "aria-label": "Show only calls that are" });
    for (const status of [null, ...LIVE]) tiles.append(this.#tile(status));
    const search = el("input", {
      type: "search",
      id: "find",
      placeholder: "Name, number, agent, queue, campaign",
      autocomplete: "off",
      on: { input: () => this.#changed({ text: search.value.trim().toLowerCase(), most: ROWS }) },
    });
    this.pause = el(
      "button",
      { type: "button", "aria-pressed": "false", on: { click: () => this.#pause() } },
      "Pause the list",
    );
    this.empty = el("div", { class: "empty", hidden: true });
    this.more = el("button", { type: "button", hidden: true, on: { click: () => this.#more() } });
    const { whole, body, heads } = table(
      "Live calls",
      [
        { title: "State", class: "state" },
        { title: "Who", class: "who" },
        { head: this.#sorter("since"), class: "time" },
        { head: this.#sorter("began"), class: "time" },
        { head: this.#sorter("agent"), class: "agent" },
        { title: "Queue", class: "queue" },
        { title: "Campaign", class: "campaign" },
      ],
      "list live",
    );
    this.heads = { since: heads[2], began: heads[3], agent: heads[4] };
    this.#markSort();
    this.table = whole;
    this.rows = new Keyed(body, (call) => call.id, makeRow, updateRow);
    main.replaceChildren(
      el("div", { class: "headline" }, el("h1", {}, "Calls now"), this.pause),
      tiles,
      el("div", { class: "find" }, el("label", { for: "find", class: "unseen" }, "Find among these calls"), search),
      whole,
      this.empty,
      this.more,
    );
    this.draw();
  }

  #tile(status) {
    const count = el("strong", {}, "–");
    const tile = el(
      "button",
      {
        type: "button",
        class: "tile",
        "aria-pressed": String(this.status === status),
        data: { status: status ?? "all" },
        on: { click: () => this.#changed({ status, most: ROWS }) },
      },
      count,
      el("span", {}, status === null ? "All live" : statusWord(status)),
    );
    this.tiles.set(status, { tile, count });
    return tile;
  }

  #sorter(name) {
    return el("button", { type: "button", on: { click: () => this.#sortBy(name) } }, SORTS[name].title);
  }

  /** The same column again turns the order. */
  #sortBy(name) {
    this.#changed({ sort: name, order: name === this.sort ? OTHER[this.order] : SORTS[name].first });
  }

  #markSort() {
    for (const [name, head] of Object.entries(this.heads)) {
      if (name === this.sort) head.setAttribute("aria-sort", this.order);
      else head.removeAttribute("aria-sort");
    }
  }

  #changed(what) {
    Object.assign(this, what);
    for (const [status, { tile }] of this.tiles) tile.setAttribute("aria-pressed", String(status === this.status));
    this.#markSort();
    this.drawn = -1;
    this.held = null;
    this.draw();
    this.app.announce(plural(this.found, "call"));
  }

  #more() {
    const first = this.most;
    this.#changed({ most: this.most + ROWS });
    this.rows.parent.children[first]?.querySelector("a")?.focus();
  }

  #pause() {
    this.paused = !this.paused;
    this.held = null;
    this.pause.setAttribute("aria-pressed", String(this.paused));
    this.drawn = -1;
    this.draw();
  }

  state() {
    this.drawn = -1;
  }

  draw() {
    const { book } = this.app;
    if (book.version === this.drawn) return;
    this.drawn = book.version;
    const counts = book.counts();
    for (const [status, { count }] of this.tiles) {
      setText(count, book.loaded ? counts[status ?? "total"].toLocaleString() : "–");
    }
    const found = this.#found(book);
    this.found = found.length;
    const shown = found.slice(0, this.most);
    this.rows.show(shown);
    this.table.hidden = shown.length === 0;
    this.more.hidden = found.length <= shown.length;
    setText(this.more, `Show more: ${plural(found.length - shown.length, "call is", "calls are")} not shown`);
    this.#showEmpty(book, counts, found.length);
    this.tick();
  }

  /** Paused, the calls stay where they are; what is told of them goes on. */
  #found(book) {
    if (this.paused && this.held !== null) {
      this.held = this.held.map((call) => book.calls.get(call.id) ?? { ...call, over: true });
      return this.held;
    }
    const found = [];
    for (const call of book.calls.values()) {
      if (this.status !== null && call.status !== this.status) continue;
      if (this.text && !searched(call).includes(this.text)) continue;
      found.push(call);
    }
    const { compare } = SORTS[this.sort];
    found.sort(this.order === "ascending" ? compare : (a, b) => compare(b, a));
    if (this.paused) this.held = found;
    return found;
  }

  tick() {
    const now = nowMs();
    for (const element of this.rows.elements.values()) {
      const { call, since, began } = element.parts;
      if (call.over) continue;
      setText(since, span(call.since ? (now - call.since) / 1000 : null));
      setText(began, span(call.began ? (now - call.began) / 1000 : null));
    }
  }

  #showEmpty(book, counts, found) {
    this.empty.hidden = found > 0;
    if (found > 0) return;
    const kind = !book.loaded ? "reading" : counts.total > 0 ? "filtered" : "none";
    const waits = this.app.connection.waitsFor();
    if (this.emptyKind === `${kind} ${waits}`) return;
    this.emptyKind = `${kind} ${waits}`;
    if (kind === "reading") this.empty.replaceChildren(el("p", {}, "Reading the calls…"));
    else if (kind === "filtered") this.empty.replaceChildren(el("p", {}, "None of the live calls is like that."));
    else this.#welcome(waits);
  }

  async #welcome(waits) {
    this.empty.replaceChildren(el("p", {}, "No call is live at the moment."));
    let any = true;
    try {
      any = (await get("v1/calls", { page_size: 1 })).total > 0;
    } catch {
      return; // the banner tells why
    }
    if (!this.empty.isConnected) return;
    this.empty.replaceChildren(...(any ? [quiet()] : first(waits)));
  }
}

function quiet() {
  return el(
    "p",
    {},
    "No call is live at the moment. The next one appears here by itself; ",
    el("a", { href: "#/calls" }, "the calls of today"),
    " are listed beside.",
  );
}

/** For who has just installed it. */
function first(waits) {
  const connection = waits
    ? ["callengine still waits for ", foreign(waits), ": ", el("a", { href: "#/health" }, "Health"), " says more, callengine doctor what to do."]
    : ["callengine is connected to the switch, and sees every call on it from now on."];
  return [
    el("h2", {}, "No call yet"),
    el("p", {}, connection),
    el(
      "ul",
      {},
      el("li", {}, "Place a call on your FreeSWITCH, from a phone or its console. It appears here while it rings."),
      el(
        "li",
        {},
        "Or have callengine place one, with a key that has the scope calls:write:",
        el("pre", { tabindex: "0" }, "callengine call originate --to +15550100"),
      ),
      el("li", {}, "Calls of the switch that do not appear may be another tenant's: each key sees its own."),
    ),
  ];
}

function makeRow(call) {
  const state = el("span", { class: "status" });
  const link = el("a", { href: `#/calls/${call.id}` });
  const parts = {
    state,
    link,
    name: el("bdi", { class: "name" }),
    number: el("bdi", { class: "number" }),
    way: el("span", { class: "way" }),
    since: el("span", { class: "ticks" }),
    began: el("span", { class: "ticks" }),
    agent: el("bdi"),
    queue: el("bdi"),
    campaign: el("bdi"),
  };
  link.append(parts.name, parts.number);
  const made = row(
    cell({ class: "state" }, state),
    rowHead({ class: "who" }, parts.way, link),
    cell({ class: "time since", "data-label": "In this state" }, parts.since),
    cell({ class: "time", "data-label": "In all" }, parts.began),
    cell({ class: "agent", "data-label": "Agent" }, parts.agent),
    cell({ class: "queue", "data-label": "Queue" }, parts.queue),
    cell({ class: "campaign", "data-label": "Campaign" }, parts.campaign),
  );
  made.parts = parts;
  return made;
}

function updateRow(element, call) {
  const { parts } = element;
  if (parts.call === call) return;
  parts.call = call;
  const { name, number } = farEnd(call);
  // Of a call that nobody answered one wants to know why.
  const why = call.status === "failed" && call.hangup_cause ? `: ${readable(call.hangup_cause)}` : "";
  setText(parts.state, statusWord(call.status) + why);
  parts.state.dataset.status = call.status;
  element.classList.toggle("over", call.over);
  setText(parts.name, name ?? "");
  setText(parts.number, number);
  const inbound = call.direction === "inbound";
  setText(parts.way, inbound ? "in" : "out");
  parts.way.dataset.way = inbound ? "in" : "out";
  if (call.over) {
    setText(parts.since, "–");
    setText(parts.began, call.ended && call.began ? span((call.ended - call.began) / 1000) : "–");
  }
  setText(parts.agent, call.agent_id ?? "–");
  parts.agent.parentNode.classList.toggle("blank", call.agent_id === null);
  setText(parts.queue, call.queue ?? "–");
  setText(parts.campaign, call.campaign_id ?? "–");
}
