// Whether what is shown is true at this moment: the stream, the database, the switch.

import { get } from "./api.js";
import * as session from "./session.js";
import { Stream } from "./stream.js";
import { when } from "./words.js";

const LOOK_MS = 10_000;
const READ_AGAIN_MS = 3000;
const RENEW_MS = 300_000;
const HIDDEN_MS = 300_000;

export class Connection {
  /** `book` is the LiveBook; `onEvent(event)` gets what the stream tells, `onChange()` is told of every change of state,
   *  `onRefused(words)` that the key is of no use any more. */
  constructor(book, { onEvent, onChange, onRefused }) {
    Object.assign(this, { book, onChange });
    this.state = "off";
    this.words = "";
    this.retryAt = 0;
    this.lostAt = 0;
    this.databaseAway = false;
    this.dataAsOf = null;
    this.ready = null;
    this.parts = {};
    this.unreachable = false;
    this.stream = new Stream({
      onEvent: (event) => {
        book.take(event.data.call);
        onEvent(event);
      },
      onFresh: () => this.#read(),
      onState: (state, words, retryAt = 0) => {
        if (state === "lost" && this.state === "live") this.lostAt = session.nowMs();
        Object.assign(this, { state, words, retryAt });
        if (state === "refused") onRefused(words);
        onChange();
      },
    });
    session.onProblem((problem) => this.#sawProblem(problem, onRefused));
    document.addEventListener("visibilitychange", () => this.#visibility());
  }

  start() {
    this.stopping = new AbortController();
    this.stream.start();
    this.#look();
    this.looking = setInterval(() => this.#look(), LOOK_MS);
    this.renewing = setInterval(() => this.state === "live" && this.#read(), RENEW_MS);
  }

  stop() {
    clearInterval(this.looking);
    clearInterval(this.renewing);
    clearTimeout(this.hiding);
    this.stopping?.abort();
    this.stream.end();
    this.book.clear();
    Object.assign(this, { state: "off", databaseAway: false, ready: null, parts: {}, unreachable: false });
  }

  /** Nobody looks: after a while the place at the server is given back. */
  #visibility() {
    clearTimeout(this.hiding);
    if (this.state === "off") return;
    if (document.hidden) {
      this.hiding = setTimeout(() => {
        this.asleep = true;
        this.stream.stop();
      }, HIDDEN_MS);
    } else if (this.asleep) {
      this.asleep = false;
      this.stream.start();
      this.#look();
    } else {
      this.stream.hurry();
    }
  }

  /** Reads the live calls, as often as it takes. One reading at a time. */
  async #read() {
    this.reading?.abort();
    const mine = new AbortController();
    this.reading = mine;
    const signal = AbortSignal.any([mine.signal, this.stopping.signal]);
    while (!signal.aborted) {
      try {
        await this.book.read(signal);
        this.onChange();
        return;
      } catch (error) {
        if (signal.aborted || [401, 403].includes(error.status)) return;
        await new Promise((resolve) => setTimeout(resolve, READ_AGAIN_MS));
      }
    }
  }

  /** Looks how the daemon is doing. */
  async #look() {
    if (document.hidden) return;
    const { signal } = this.stopping;
    try {
      const answer = await get("readyz", {}, { signal, accepts: [503] });
      this.unreachable = false;
      this.ready = answer.ready;
      this.parts = answer.parts;
      this.dataAsOf = answer.parts.data_as_of || this.dataAsOf;
      this.databaseAway = (answer.parts.database ?? "ok") !== "ok";
    } catch (error) {
      if (signal.aborted) return;
      this.unreachable = error.status === 0;
    }
    this.onChange();
  }

  #sawProblem(problem, onRefused) {
    if (problem.code === "store-unavailable") {
      this.databaseAway = true;
      this.dataAsOf = problem.dataAsOf ?? this.dataAsOf;
      this.onChange();
    } else if (problem.status === 401 && this.state !== "off") {
      onRefused(problem.words);
    }
  }

  look() {
    return this.#look();
  }

  /** What has to be said at the top of the page, or null. */
  trouble() {
    if (this.state === "off") return null;
    if (this.databaseAway) {
      const asOf = this.dataAsOf ? ` What you see is as of ${when(this.dataAsOf)}.` : "";
      return `The database is away. Calls are tracked meanwhile, and are written once it is back.${asOf}`;
    }
    if (this.state === "lost" || (this.state === "connecting" && this.lostAt)) {
      const since = this.lostAt ? ` What you see is as of ${when(new Date(this.lostAt).toISOString())}.` : "";
      return `${this.words === "Connecting" ? "Connecting again" : this.words}: this page is not live.${since}`;
    }
    if (this.waitsFor()) {
      return `callengine waits for ${this.waitsFor()}: what happens on the switch is not seen at the moment.`;
    }
    return null;
  }

  /** What has to come before calls are seen; empty: nothing. */
  waitsFor() {
    if (this.ready !== false) return "";
    const what = this.parts.waiting_for ?? "nothing";
    return what === "nothing" ? "the connection to the switch" : what;
  }

  /** The word beside the light. */
  word() {
    if (this.state === "live") return this.databaseAway ? "Database away" : this.ready === false ? "Waiting" : "Live";
    if (this.state === "lost") {
      const seconds = Math.max(0, Math.ceil((this.retryAt - Date.now()) / 1000));
      return `Not live, again in ${seconds} s`;
    }
    return this.state === "connecting" ? "Connecting" : "Off";
  }

  /** `good`, `wait` or `bad`. */
  light() {
    if (this.state === "live") return this.databaseAway || this.ready === false ? "bad" : "good";
    return this.state === "lost" ? "bad" : "wait";
  }

  recovered() {
    this.lostAt = 0;
  }
}
