// A call over time: a lane for each channel, and the list of what happened, with whose word it is known by.

import { el, foreign } from "./dom.js";
import { nowMs } from "./session.js";
import { readable, source, span, stamp } from "./words.js";

const ROLES = { agent: "Agent", voice_agent: "Voice agent", loopback: "Loopback", call: "Another call", leg: "Channel" };

const EVENTS = {
  created: "Channel created",
  rang: "Rang",
  early_media: "Early media",
  answered: "Answered",
  bridged: "Connected",
  unbridged: "Disconnected",
  held: "Put on hold",
  unheld: "Taken off hold",
  hung_up: "Hung up",
  ended: "Ended",
  queued: "Accepted, to be dialled",
  originate_sent: "The switch was asked to dial",
  job_answered: "The switch's answer to that",
  originate_abandoned: "Given up before it was dialled",
  never_ran: "Never had a channel",
  found_again: "Lives again",
  gone: "Gone from the switch's list",
  recording_started: "Recording started",
  recording_stopped: "Recording stopped",
  recording_discarded: "Recording thrown away by the switch",
  recording_ready: "Recording ready to be played",
  recording_failed: "Recording cannot be used",
  recording_deleted: "Recording deleted",
  analyzed: "Analysed",
  hangup: "Order: hang up",
  bridge: "Order: connect",
  transfer: "Order: transfer",
  hold: "Order: hold",
  unhold: "Order: take off hold",
  dtmf: "Order: send digits",
  recording_start: "Order: record",
  recording_stop: "Order: stop recording",
};

/** What each channel of the call is called, by its UUID. */
export function names(call) {
  const found = new Map([[call.fs_uuid, "The call"]]);
  for (const leg of call.legs) {
    const role = ROLES[leg.role] ?? readable(leg.role);
    found.set(leg.fs_uuid, leg.agent_id ? `${role} ${leg.agent_id}` : role);
  }
  for (const agent of call.agents) {
    if (!found.has(agent.leg)) found.set(agent.leg, `Agent ${agent.agent_id}`);
  }
  return found;
}

const ms = (iso) => (iso ? Date.parse(iso) : null);

/** The pieces of a channel's life: {kind, from, to}, in ms. */
function pieces(dialed, answered, ended, end) {
  if (dialed === null) return [];
  const over = ended ?? end;
  const found = [{ kind: "rings", from: dialed, to: answered ?? over }];
  if (answered !== null) found.push({ kind: "talks", from: answered, to: over });
  return found;
}

export class Lanes {
  constructor() {
    this.element = el("figure", { class: "lanes" });
  }

  /** The picture says what the tables below say: it is for those who see it. */
  show(call) {
    const began = ms(call.dial_time) ?? ms(call.queued_time);
    const end = ms(call.end_time) ?? ms(call.ended_before) ?? nowMs();
    if (began === null || end <= began) {
      this.element.replaceChildren();
      return;
    }
    const known = names(call);
    const lanes = [["The call", pieces(began, ms(call.answer_time), ms(call.end_time), end)]];
    for (const leg of call.legs) {
      const of = pieces(ms(leg.dial_time), ms(leg.answer_time), ms(leg.end_time), end);
      if (of.length) lanes.push([known.get(leg.fs_uuid), of]);
    }
    for (const agent of call.agents) {
      const from = ms(agent.connect_time);
      if (from !== null) {
        const to = ms(agent.disconnect_time) ?? end;
        lanes.push([`With ${agent.agent_id}`, [{ kind: "connected", from, to }]]);
      }
    }
    for (const recording of call.recordings) {
      const from = ms(recording.start_time);
      if (from !== null) lanes.push(["Recording", [{ kind: "records", from, to: ms(recording.stop_time) ?? end }]]);
    }
    const first = Math.min(began, ...lanes.flatMap(([, of]) => of.map((piece) => piece.from)));
    const whole = Math.max(end, ...lanes.flatMap(([, of]) => of.map((piece) => piece.to))) - first;
    this.element.replaceChildren(
      el(
        "div",
        { class: "lanelist", "aria-hidden": "true" },
        lanes.map(([title, of]) => lane(title, of, first, whole)),
      ),
      el("figcaption", {}, caption(call, (end - began) / 1000), legend(lanes)),
    );
  }
}

function lane(title, of, first, whole) {
  const track = el("span", { class: "track" });
  for (const { kind, from, to } of of) {
    const bar = el("span", { class: `bar ${kind}` });
    bar.style.left = `${(100 * (from - first)) / whole}%`;
    bar.style.width = `${(100 * Math.max(0, to - from)) / whole}%`;
    track.append(bar);
  }
  return el("div", { class: "lane" }, el("span", { class: "lanename" }, foreign(title)), track);
}

const KINDS = { rings: "rings", talks: "answered", connected: "with an agent", records: "recorded" };

function legend(lanes) {
  const used = new Set(lanes.flatMap(([, of]) => of.map((piece) => piece.kind)));
  return el(
    "span",
    { "aria-hidden": "true" },
    Object.entries(KINDS)
      .filter(([kind]) => used.has(kind))
      .map(([kind, word]) => el("span", { class: "keyed" }, el("span", { class: `key ${kind}` }), word)),
  );
}

function caption(call, seconds) {
  const words = [`${span(seconds)} in all`];
  if (call.ring_duration_s !== null) words.push(`rang for ${span(call.ring_duration_s)}`);
  if (call.talk_duration_s !== null) words.push(`talked for ${span(call.talk_duration_s)}`);
  return words.join(", ");
}

function relative(seconds) {
  const text = Math.abs(seconds).toFixed(1);
  return `${seconds < 0 && text !== "0.0" ? "−" : "+"}${text} s`;
}

/** What happened, in order. */
export function timeline(call, events) {
  if (!events.length) return el("p", { class: "help" }, "Nothing is known of it yet.");
  const known = names(call);
  const began = ms(call.dial_time);
  return el(
    "ol",
    { class: "timeline" },
    events.map((event) => {
      const [short, long] = source(event.source);
      const at = ms(event.time);
      // Our clock and the switch's are two: what lies between a stamp of each is nobody's to say.
      const ours = event.source === "clock";
      const after = at !== null && began !== null && !ours ? relative((at - began) / 1000) : "";
      const on = event.leg === null || event.leg === call.fs_uuid ? null : (known.get(event.leg) ?? "another channel");
      return el(
        "li",
        { data: { event: event.name } },
        el("time", { datetime: event.time ?? null }, stamp(event.time)),
        el("span", { class: "after" }, after),
        el(
          "span",
          { class: "what" },
          el("strong", {}, EVENTS[event.name] ?? readable(event.name)),
          on === null ? null : [" ", foreign(on)],
          event.detail ? [" ", foreign(event.detail, "detail")] : null,
        ),
        el("span", { class: "source", title: long, data: { source: event.source } }, short),
      );
    }),
  );
}
