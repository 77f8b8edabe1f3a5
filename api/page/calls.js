// The calls of a day, by the API's own filters. The filters stand in the address, so that a search can be kept.

import { all, get } from "./api.js";
import { cell, el, Keyed, row, rowHead, setText, table } from "./dom.js";
import * as session from "./session.js";
import { farEnd, plural, readable, span, STATUSES, statusWord, when } from "./words.js";

const PAGE_SIZE = 50;
const TYPED_MS = 400;
const NUMBER_MAX = 64;
const TEXTS = { agent: "Agent", campaign: "Campaign", lead: "Lead", disposition: "Disposition" };

function today() {
  const at = new Date(session.nowMs());
  const two = (n) => String(n).padStart(2, "0");
  return `${at.getFullYear()}-${two(at.getMonth() + 1)}-${two(at.getDate())}`;
}

/** The two ends of a day here, as instants. */
function dayBounds(day) {
  if (!/^\d{4}-\d\d-\d\d$/.test(day)) return {};
  const [year, month, date] = day.split("-").map(Number);
  const bounds = [new Date(year, month - 1, date), new Date(year, month - 1, date + 1)];
  if (bounds.some((at) => Number.isNaN(at.getTime()))) return {};
  return { dialed_after: bounds[0].toISOString(), dialed_before: bounds[1].toISOString() };
}

function address(params) {
  const query = params.toString();
  return `#/calls${query ? `?${query}` : ""}`;
}

/** A number as the API compares it: without what people put between the digits, and without a leading plus. */
function bare(number) {
  return number.replace(/[\p{Zs}\p{Pd}\p{Cf}().\/]/gu, "").replace(/^\++/, "");
}

export class CallsView {
  constructor(app) {
    this.app = app;
    this.newer = new Set();
    this.shown = new Map();
  }

  mount(main, _ids, params) {
    this.app.title("Calls");
    this.fields = this.#fields();
    this.form = el(
      "form",
      { class: "filters", role: "search", "aria-label": "Filter calls", on: { submit: (e) => e.preventDefault() } },
      Object.values(this.fields).map(({ label, input }) => el("p", { class: "field" }, label, input)),
      el("p", { class: "field" }, el("button", { type: "reset", on: { click: () => this.#clear() } }, "Clear")),
    );
    this.form.addEventListener("input", (event) => this.#typed(event.target.tagName === "INPUT"));
    this.form.addEventListener("change", () => this.#typed(false));
    this.summary = el("p", { class: "summary" });
    this.news = el("button", { type: "button", class: "news", hidden: true, on: { click: () => this.#first() } });
    const { whole, body } = table(
      "Calls",
      [
        { title: "Dialled", class: "at" },
        { title: "State", class: "state" },
        { title: "Who", class: "who" },
        { title: "Rang", class: "time" },
        { title: "Talked", class: "time" },
        { title: "Ended by", class: "cause" },
        { title: "Agent", class: "agent" },
        { title: "Disposition", class: "disposition" },
        { title: "Has", class: "has" },
      ],
      "list calls",
    );
    this.table = whole;
    this.rows = new Keyed(body, (call) => call.id, makeRow, updateRow);
    this.place = el("div", {});
    this.pager = el("nav", { class: "pager", "aria-label": "Pages" });
    this.heading = el("h1", {}, "Calls of today");
    main.replaceChildren(
      this.heading,
      el("details", { class: "filtering", open: window.matchMedia("(min-width: 46rem)").matches }, el("summary", {}, "Filters"), this.form),
      this.summary,
      this.news,
      whole,
      this.place,
      this.pager,
    );
    this.#suggest();
    this.follow([], params);
  }

  leave() {
    clearTimeout(this.typing);
    this.reading?.abort();
  }

  #fields() {
    const made = {};
    const add = (name, title, input) => {
      input.id = `filter-${name}`;
      input.name = name;
      made[name] = { label: el("label", { for: input.id }, title), input };
    };
    add("day", "Day", el("input", { type: "date", max: today() }));
    const select = (values, word) =>
      el("select", {}, el("option", { value: "" }, "Any"), values.map((v) => el("option", { value: v }, word(v))));
    add("number", "Number", el("input", { type: "search", inputmode: "tel", autocomplete: "off", maxlength: NUMBER_MAX }));
    add("status", "State", select(STATUSES, statusWord));
    add("direction", "Direction", select(["inbound", "outbound"], (v) => readable(v)));
    for (const [name, title] of Object.entries(TEXTS)) {
      add(name, title, el("input", { type: "search", autocomplete: "off", maxlength: "128", list: `known-${name}` }));
    }
    return made;
  }

  /** The tenant's campaigns, where the key may read them. */
  async #suggest() {
    if (!session.allows("campaigns:read")) return;
    try {
      const campaigns = await all("v1/campaigns", {}, 500);
      const codes = new Set(campaigns.flatMap((campaign) => campaign.dispositions ?? []));
      this.form.append(
        el("datalist", { id: "known-campaign" }, campaigns.map((c) => el("option", { value: c.id }, c.name ?? c.id))),
        el("datalist", { id: "known-disposition" }, [...codes].sort().map((code) => el("option", { value: code }))),
      );
    } catch {
      // Without suggestions it is typed.
    }
  }

  // -- the address and the fields --------------------------------------------------------------------------------

  /** Shows what the address asks for. */
  follow(ids, params) {
    if (ids.length) return false;
    this.params = new URLSearchParams(params);
    for (const [name, { input }] of Object.entries(this.fields)) {
      const value = params.get(name) ?? (name === "day" ? today() : "");
      // Who is typing goes on typing; an address from elsewhere changes every field.
      if (input.value !== value && !(this.typed && document.activeElement === input)) input.value = value;
    }
    this.typed = false;
    const day = this.params.get("day") ?? today();
    const title = day === today() ? "Calls of today" : day === "" ? "All calls" : `Calls of ${day}`;
    setText(this.heading, title);
    this.#read();
    return true;
  }

  #typed(slowly) {
    clearTimeout(this.typing);
    const from = location.hash;
    this.typing = setTimeout(() => {
      const params = new URLSearchParams();
      for (const [name, { input }] of Object.entries(this.fields)) {
        const value = input.value.trim();
        if (name === "day" ? value !== today() : value !== "") params.set(name, value);
      }
      // Who leaves a field for a link goes where that leads, and it is not drawn anew under the pointer.
      if (location.hash !== from || from === address(params)) return;
      this.typed = true;
      this.#go(params);
    }, slowly ? TYPED_MS : 0);
  }

  #go(params) {
    const hash = address(params);
    if (location.hash === hash) this.#read();
    else location.hash = hash;
  }

  #clear() {
    setTimeout(() => {
      this.fields.day.input.value = today();
      this.#go(new URLSearchParams());
    });
  }

  #first() {
    const params = new URLSearchParams(this.params);
    params.delete("page");
    this.#go(params);
    this.heading.focus();
  }

  // -- the calls ---------------------------------------------------------------------------------------------------

  #query() {
    const query = { page: this.#page(), page_size: PAGE_SIZE, ...dayBounds(this.params.get("day") ?? today()) };
    for (const name of ["number", "status", "direction", ...Object.keys(TEXTS)]) query[name] = this.params.get(name);
    return query;
  }

  #page() {
    const page = Number(this.params.get("page") ?? 1);
    return Number.isInteger(page) && page > 0 ? page : 1;
  }

  async #read() {
    this.reading?.abort();
    const mine = new AbortController();
    this.reading = mine;
    this.table.setAttribute("aria-busy", "true");
    try {
      const answer = await get("v1/calls", this.#query(), { signal: mine.signal });
      this.newer.clear();
      this.shown = new Map(answer.data.map((call) => [call.id, call]));
      this.#show(answer);
    } catch (error) {
      if (mine.signal.aborted) return;
      this.place.replaceChildren(this.app.fault(error, () => this.#read()));
    } finally {
      if (this.reading === mine) this.table.removeAttribute("aria-busy");
    }
  }

  #show(answer) {
    this.answer = answer;
    this.#draw();
    const words = plural(answer.total, "call");
    if (this.summary.textContent !== words) this.app.announce(words);
    setText(this.summary, words);
    this.place.replaceChildren(...(answer.total ? [] : [this.#nothing()]));
    this.#pages(answer);
  }

  #draw() {
    this.rows.show([...this.shown.values()]);
    this.table.hidden = this.shown.size === 0;
    this.news.hidden = this.newer.size === 0;
    setText(this.news, `${plural(this.newer.size, "newer call")}: show`);
  }

  #nothing() {
    const filtered = Object.keys(this.fields).some((name) => name !== "day" && this.params.get(name));
    const everyDay = new URLSearchParams(this.params);
    everyDay.set("day", "");
    everyDay.delete("page");
    if (this.params.get("day") === "") {
      return el("div", { class: "empty" }, el("p", {}, filtered ? "No call is like that." : "There is no call so far."));
    }
    const words = filtered ? "No call of that day is like that." : "No call was dialled on that day so far.";
    return el(
      "div",
      { class: "empty" },
      el("p", {}, words),
      el("p", {}, el("a", { href: `#/calls?${everyDay}` }, "Look through all days")),
    );
  }

  #pages({ page, total_pages: pages }) {
    const link = (to, words, rel) => {
      const params = new URLSearchParams(this.params);
      params.set("page", to);
      return el("a", { href: `#/calls?${params}`, rel }, words);
    };
    this.pager.hidden = pages < 2 && page === 1;
    this.pager.replaceChildren(
      page > 1 ? link(Math.min(page - 1, Math.max(pages, 1)), "Newer", "prev") : el("span", {}, "Newer"),
      el("span", { class: "where" }, `Page ${page} of ${Math.max(pages, 1)}`),
      page < pages ? link(page + 1, "Older", "next") : el("span", {}, "Older"),
    );
  }

  // -- what is told meanwhile ----------------------------------------------------------------------------------------

  event(event) {
    const { call } = event.data;
    const known = this.shown.get(call.id);
    if (known !== undefined) {
      if (known.seq <= call.seq) this.shown.set(call.id, call);
      this.stale = true;
    } else if (event.type === "call.dialing" && this.answer !== undefined && this.#fits(call)) {
      this.newer.add(call.id);
      this.stale = true;
    }
  }

  /** Whether a call that was just dialled belongs to what is shown. */
  #fits(call) {
    const day = this.params.get("day") ?? today();
    if (day !== "" && day !== today()) return false;
    const number = bare(this.params.get("number") ?? "");
    if (number && bare(call.caller_number ?? "") !== number && bare(call.callee_number ?? "") !== number) return false;
    const has = { ...call, campaign: call.campaign_id, lead: call.lead_id, agent: call.agent_id };
    return ["status", "direction", ...Object.keys(TEXTS)].every((name) => {
      const wanted = this.params.get(name);
      return !wanted || has[name] === wanted;
    });
  }

  draw() {
    if (!this.stale) return;
    this.stale = false;
    this.#draw();
  }
}

function makeRow(call) {
  const parts = {
    at: el("span"),
    state: el("span", { class: "status" }),
    way: el("span", { class: "way" }),
    name: el("bdi", { class: "name" }),
    number: el("bdi", { class: "number" }),
    rang: el("span"),
    talked: el("span"),
    cause: el("span"),
    agent: el("bdi"),
    disposition: el("bdi"),
    has: el("span", { class: "marks" }),
  };
  const made = row(
    cell({ class: "at", "data-label": "Dialled" }, parts.at),
    cell({ class: "state" }, parts.state),
    rowHead({ class: "who" }, parts.way, el("a", { href: `#/calls/${call.id}` }, parts.name, parts.number)),
    cell({ class: "time", "data-label": "Rang" }, parts.rang),
    cell({ class: "time", "data-label": "Talked" }, parts.talked),
    cell({ class: "cause", "data-label": "Ended by" }, parts.cause),
    cell({ class: "agent", "data-label": "Agent" }, parts.agent),
    cell({ class: "disposition", "data-label": "Disposition" }, parts.disposition),
    cell({ class: "has", "data-label": "Has" }, parts.has),
  );
  made.parts = parts;
  return made;
}

function updateRow(element, call) {
  const { parts } = element;
  if (parts.call === call) return;
  parts.call = call;
  const { name, number } = farEnd(call);
  const inbound = call.direction === "inbound";
  setText(parts.at, when(call.dial_time ?? call.queued_time));
  setText(parts.state, statusWord(call.status));
  parts.state.dataset.status = call.status;
  setText(parts.way, inbound ? "in" : "out");
  parts.way.dataset.way = inbound ? "in" : "out";
  setText(parts.name, name ?? "");
  setText(parts.number, number);
  const cause = call.hangup_cause ?? call.failure_reason;
  put(parts.rang, call.ring_duration_s === null ? null : span(call.ring_duration_s));
  put(parts.talked, call.talk_duration_s === null ? null : span(call.talk_duration_s));
  put(parts.cause, cause === null ? null : readable(cause));
  put(parts.agent, call.agent_id);
  put(parts.disposition, call.disposition);
  const marks = [];
  if (call.has_recording) marks.push(el("span", { class: "mark" }, "Recording"));
  if (call.ai_summary !== null) marks.push(el("span", { class: "mark" }, "Summary"));
  if (call.notes) marks.push(el("span", { class: "mark" }, "Notes"));
  parts.has.replaceChildren(...(marks.length ? marks : ["–"]));
  parts.has.parentNode.classList.toggle("blank", !marks.length);
}

/** A value, or a dash that small screens leave out. */
function put(part, value) {
  setText(part, value ?? "–");
  part.parentNode.classList.toggle("blank", value === null);
}
