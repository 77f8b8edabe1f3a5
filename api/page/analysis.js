// What the analysis found: each statement of the summary with the words that bear it, and the transcript they are from.

import { el, foreign } from "./dom.js";
import { readable, span, when } from "./words.js";

const SPEAKERS = { caller: "Caller", callee: "Callee", agent: "Agent", unknown: "Somebody" };

const STATES = {
  pending: "It waits to be analysed.",
  running: "It is being analysed.",
  retrying: "The analysis is tried again later.",
  parked: "The analysis waits: Gemini takes no more for now.",
  skipped_too_short: "Not analysed: too little was said.",
  skipped_silent: "Not analysed: nothing is to be heard.",
  skipped_voicemail: "Not analysed: a voicemail answered.",
  skipped_over_budget: "Not analysed: the day's budget was spent.",
  skipped_no_recording: "Not analysed: there is no recording.",
  unsupported: "Not analysed: recordings of this kind cannot be.",
  failed: "The analysis failed.",
};

const plain = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, " ").trim();

/** Where a quote stands in the transcript: [turn, from, to], from −1 where only the turn is known; null: nowhere. */
function findQuote(turns, quote) {
  const lower = quote.toLowerCase();
  for (const [index, turn] of turns.entries()) {
    const at = turn.text.toLowerCase().indexOf(lower);
    if (at >= 0 && turn.text.toLowerCase().length === turn.text.length) return [index, at, at + quote.length];
  }
  const words = plain(quote);
  if (!words) return null;
  const index = turns.findIndex((turn) => plain(turn.text).includes(words));
  return index < 0 ? null : [index, -1, -1];
}

export class Analysis {
  constructor(recordings) {
    this.recordings = recordings;
    this.element = el("div", { class: "analysis" });
    this.shown = "";
  }

  show(call, analysis) {
    // What is the same is left alone: somebody may be reading it, with a button of it in focus.
    const playable = this.recordings.playable;
    const text = JSON.stringify([analysis, call.ai_summary, call.ai_sentiment, call.ai_next_action, playable]);
    if (text === this.shown) return;
    this.shown = text;
    const turns = analysis?.transcript ?? [];
    const statements = analysis?.statements ?? [];
    const quotes = statements.map((one) => (one.quote ? findQuote(turns, one.quote) : null));
    this.turns = turns.map((turn, index) => this.#turn(turn, index, quotes));
    this.element.replaceChildren(
      ...this.#state(call, analysis),
      ...this.#summary(call, statements, quotes, turns),
      ...(turns.length ? [el("h3", {}, "Transcript"), el("ol", { class: "transcript" }, this.turns)] : []),
      ...this.#provenance(analysis),
    );
  }

  #state(call, analysis) {
    const status = call.analysis_status ?? analysis?.status ?? null;
    if (status === null) return call.ai_summary === null ? [el("p", { class: "help" }, "It was not analysed.")] : [];
    if (status.startsWith("completed")) return [];
    const words = [STATES[status] ?? readable(status)];
    if (analysis?.next_time) words.push(`Not before ${when(analysis.next_time)}.`);
    if (analysis?.error) words.push(analysis.error);
    return [el("p", { class: "help" }, foreign(words.join(" ")))];
  }

  #summary(call, statements, quotes, turns) {
    const found = [];
    if (statements.length) {
      found.push(
        el("h3", {}, "Summary"),
        el("ol", { class: "statements" }, statements.map((one, n) => this.#statement(one, quotes[n], turns))),
      );
    } else if (call.ai_summary !== null) {
      found.push(el("h3", {}, "Summary"), el("p", {}, foreign(call.ai_summary)));
    }
    const facts = [
      ["Sentiment", call.ai_sentiment && readable(call.ai_sentiment)],
      ["Next action", call.ai_next_action],
    ].filter(([, value]) => value);
    if (facts.length) {
      const rows = facts.map(([title, value]) => el("div", {}, el("dt", {}, title), el("dd", {}, foreign(value))));
      found.push(el("dl", { class: "facts" }, rows));
    }
    return found;
  }

  #statement(statement, place, turns) {
    const quote = statement.quote ? el("blockquote", {}, foreign(`“${statement.quote}”`)) : null;
    const where =
      place === null
        ? null
        : el(
            "button",
            { type: "button", class: "quiet", on: { click: () => this.#goTo(place[0], turns[place[0]].offset_ms) } },
            `${this.recordings.playable ? "Listen" : "Read"} at ${span(turns[place[0]].offset_ms / 1000)}`,
          );
    return el("li", {}, foreign(statement.text), quote, where);
  }

  #turn(turn, index, quotes) {
    const at = span(turn.offset_ms / 1000);
    const time = this.recordings.playable
      ? el(
          "button",
          {
            type: "button",
            class: "quiet",
            "aria-label": `Play from ${at}`,
            on: { click: () => this.recordings.seek(turn.offset_ms) },
          },
          at,
        )
      : el("span", { class: "help" }, at);
    const here = quotes.filter((place) => place !== null && place[0] === index);
    const whole = here.some((place) => place[1] < 0);
    return el(
      "li",
      { tabindex: "-1", class: whole ? "quoted" : null },
      time,
      el("strong", { data: { speaker: turn.speaker } }, SPEAKERS[turn.speaker] ?? readable(turn.speaker)),
      el("bdi", {}, marked(turn.text, here)),
    );
  }

  #goTo(index, offsetMs) {
    this.turns[index].scrollIntoView({ block: "center" });
    this.turns[index].focus({ preventScroll: true });
    if (this.recordings.playable) this.recordings.seek(offsetMs);
  }

  #provenance(analysis) {
    if (!analysis?.model || !analysis.done_time) return [];
    const words = [`By ${analysis.model}, ${when(analysis.done_time)}`];
    if (analysis.cost_usd !== null) words.push(`$${analysis.cost_usd.toFixed(4)}`);
    return [el("p", { class: "help" }, foreign(`${words.join(", ")}. A machine wrote this: the quotes are what was said.`))];
  }
}

/** The text, with the quoted parts marked. */
function marked(text, places) {
  const parts = [];
  let at = 0;
  for (const [, from, to] of places.filter((place) => place[1] >= 0).sort((a, b) => a[1] - b[1])) {
    if (from < at) continue;
    parts.push(text.slice(at, from), el("mark", {}, text.slice(from, to)));
    at = to;
  }
  parts.push(text.slice(at));
  return parts.filter((part) => part !== "");
}
