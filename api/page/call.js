// One call: what it is, what happened, who was on it, what was recorded and said, and what people note about it.

import { Analysis } from "./analysis.js";
import { ask, get } from "./api.js";
import { cell, el, foreign, row, rowHead, setText, table } from "./dom.js";
import { EditForm } from "./edit.js";
import { Lanes, names, timeline } from "./lanes.js";
import { Recordings } from "./recordings.js";
import * as session from "./session.js";
import { farEnd, isLive, readable, span, statusWord, when } from "./words.js";

const AGAIN_MS = 400;

export class CallView {
  constructor(app) {
    this.app = app;
    this.call = null;
  }

  mount(main, [id]) {
    this.id = id.toLowerCase();
    this.app.title("A call");
    this.heading = el("h1", {}, "Call");
    this.place = el("div", {}, el("p", { class: "summary" }, "Reading the call…"));
    main.replaceChildren(el("p", { class: "back" }, el("a", { href: "#/calls" }, "All calls")), this.heading, this.place);
    this.leaving = new AbortController();
    this.read();
  }

  leave() {
    this.leaving.abort();
    clearTimeout(this.waiting);
    this.dialog?.remove();
  }

  follow([id]) {
    return id.toLowerCase() === this.id;
  }

  async read() {
    const { signal } = this.leaving;
    const path = `v1/calls/${this.id}`;
    try {
      const [call, events, analysis] = await Promise.all([
        get(path, {}, { signal }),
        get(`${path}/events`, {}, { signal }),
        get(`${path}/analysis`, {}, { signal }).catch((error) => {
          // A process that only reads may have none to tell of.
          if (error.code === "read-only") return null;
          throw error;
        }),
      ]);
      if (!this.parts) this.build();
      this.show(call, events.data, analysis);
    } catch (error) {
      if (signal.aborted) return;
      const unknown = error.status === 404;
      if (unknown) error.message = "There is no such call, or it is not yours";
      if (!this.parts) this.place.replaceChildren(this.app.fault(error, () => this.read()));
    }
  }

  build() {
    const section = (title, ...content) => el("section", {}, el("h2", {}, title), content);
    const parts = {
      state: el("span", { class: "status" }),
      tick: el("span", { class: "ticks" }),
      hangup: el("button", { type: "button", class: "danger", hidden: true, on: { click: () => this.askHangup() } }, "Hang up"),
      facts: el("dl", { class: "facts" }),
      lanes: new Lanes(),
      legs: el("div"),
      events: el("div"),
      recordings: new Recordings((again) => this.refresh(again)),
      edit: new EditForm(this.app, this.id, (call) => this.edited(call)),
    };
    parts.analysis = new Analysis(parts.recordings);
    parts.said = section("What was said", parts.analysis.element);
    this.parts = parts;
    this.place.replaceChildren(
      el("div", { class: "callhead" }, parts.state, parts.tick, parts.hangup),
      el(
        "div",
        { class: "columns" },
        el(
          "div",
          {},
          section("Course", parts.lanes.element, parts.legs),
          section("Recordings", parts.recordings.element),
          parts.said,
          section("Timeline", parts.events),
        ),
        el("div", {}, section("Notes and disposition", parts.edit.element), section("Facts", parts.facts)),
      ),
    );
  }

  show(call, events, analysis) {
    if (this.call !== null && call.seq < this.call.seq) return;
    const { parts } = this;
    this.call = call;
    const { name, number } = farEnd(call);
    this.app.title(`${name ?? number}`);
    this.heading.replaceChildren(
      call.direction === "inbound" ? "Call from " : "Call to ",
      foreign(name ? `${name}, ${number}` : number),
    );
    setText(parts.state, statusWord(call.status));
    parts.state.dataset.status = call.status;
    parts.hangup.hidden = !(isLive(call) && session.allows("calls:write"));
    parts.facts.replaceChildren(...facts(call));
    parts.lanes.show(call);
    parts.legs.replaceChildren(legs(call));
    parts.events.replaceChildren(timeline(call, events));
    parts.recordings.show(call);
    parts.analysis.show(call, analysis);
    parts.edit.show(call);
    this.tick();
  }

  tick() {
    if (this.call === null) return;
    const { call, parts } = this;
    const began = call.dial_time ?? call.queued_time;
    if (isLive(call)) {
      setText(parts.tick, began ? span((session.nowMs() - Date.parse(began)) / 1000) : "");
      parts.lanes.show(call);
    } else {
      const cause = call.hangup_cause ?? call.failure_reason;
      setText(parts.tick, [cause && readable(cause), span(call.total_duration_s)].filter(Boolean).join(", "));
    }
  }

  // -- what is told meanwhile ----------------------------------------------------------------------------------------

  event(event) {
    if (event.data.call.id !== this.id) return;
    this.refresh();
  }

  /** Reads it again, once for all that comes within a moment. */
  refresh() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.read(), AGAIN_MS);
  }

  edited(call) {
    this.call = call;
    this.refresh();
  }

  // -- hanging up --------------------------------------------------------------------------------------------------

  askHangup() {
    const words = el("p", { class: "wrong", role: "alert" });
    const close = () => this.dialog.close();
    const button = (title, attributes, click) => el("button", { type: "button", on: { click }, ...attributes }, title);
    const end = button("Hang up", { class: "danger" }, async () => {
      end.disabled = true;
      try {
        await ask("POST", `v1/calls/${this.id}/hangup`, { body: {} });
        close();
        this.app.announce("The switch was asked to hang up.");
        this.refresh();
      } catch (error) {
        end.disabled = false;
        setText(words, error.words);
      }
    });
    this.dialog?.remove();
    this.dialog = el(
      "dialog",
      { "aria-labelledby": "hangup-title" },
      el("h2", { id: "hangup-title" }, "Hang up this call?"),
      el("p", {}, "It ends for both sides, at once."),
      words,
      el("p", { class: "buttons" }, button("Leave it", {}, close), end),
    );
    document.body.append(this.dialog);
    this.dialog.addEventListener("close", () => this.parts.hangup.focus());
    this.dialog.showModal();
  }
}

function facts(call) {
  const found = [
    ["From", [call.caller_name, call.caller_number].filter(Boolean).join(", ")],
    ["To", call.callee_number],
    ["Direction", readable(call.direction)],
    ["Campaign", call.campaign_id],
    ["Lead", call.lead_id],
    ["Agent", call.agent_id],
    ["Queue", call.queue],
    ["Gateway", call.gateway],
    ["Accepted", call.queued_time && when(call.queued_time)],
    ["Dialled", call.dial_time && when(call.dial_time)],
    ["Rang for", call.ring_duration_s !== null ? span(call.ring_duration_s) : null],
    ["Talked for", call.talk_duration_s !== null ? span(call.talk_duration_s) : null],
    ["In all", call.total_duration_s !== null ? span(call.total_duration_s) : null],
    ["Cause", call.hangup_cause],
    ["Never dialled", call.failure_reason && readable(call.failure_reason)],
    ["Hung up by", call.hangup_by && readable(call.hangup_by)],
    ["Answered by", call.answered_by && readable(call.answered_by)],
    ["SIP status", call.sip_status],
    ["Ended between", call.ended_after && `${when(call.ended_after)} and ${when(call.ended_before)}`],
    ["Last word on the end", call.end_source],
    ["Overlong", call.overlong ? "Lasts longer than is plausible" : null],
    ["Switch", call.node],
    ["Call", call.id],
    ["Channel", call.fs_uuid],
    ["SIP Call-ID", call.sip_call_id],
  ];
  return found
    .filter(([, value]) => value !== null && value !== undefined && value !== "")
    .map(([title, value]) => el("div", {}, el("dt", {}, title), el("dd", {}, foreign(String(value)))));
}

function legs(call) {
  if (!call.legs.length) return el("p", { class: "help" }, "It has no channel but its own.");
  const columns = ["Channel", "Number", "Dialled", "Answered", "Ended", "Cause"].map((title) => ({ title }));
  const { whole, body } = table("Other channels of the call", columns, "list legs");
  const known = names(call);
  for (const leg of call.legs) {
    const name = known.get(leg.fs_uuid);
    const head = leg.call_id ? el("a", { href: `#/calls/${leg.call_id}` }, foreign(name)) : foreign(name);
    body.append(
      row(
        rowHead({}, head),
        cell({ "data-label": "Number" }, foreign(leg.callee_number ?? "–")),
        cell({ "data-label": "Dialled" }, when(leg.dial_time)),
        cell({ "data-label": "Answered" }, when(leg.answer_time)),
        cell({ "data-label": "Ended" }, when(leg.end_time)),
        cell({ "data-label": "Cause" }, leg.hangup_cause ? readable(leg.hangup_cause) : "–"),
      ),
    );
  }
  return whole;
}
