// GET /v1/stream by fetch, so that the key stays in a header: server-sent events, resumed with Last-Event-ID.

import { address, Problem, problemOf } from "./api.js";
import * as session from "./session.js";

// The server sends something every 15 s.
const SILENCE_MS = 45_000;
const FIRST_PAUSE_MS = 1000;
const LONGEST_PAUSE_MS = 15_000;
// After a longer time away it is cheaper to read the calls anew than everything that happened to them.
const RESUME_WITHIN_MS = 120_000;

/** Splits what comes into messages: {id, event, data}. */
export class Messages {
  constructor() {
    this.rest = "";
  }

  push(text) {
    const messages = [];
    const parts = (this.rest + text).split(/\r?\n\r?\n/);
    this.rest = parts.pop();
    for (const part of parts) {
      const message = { id: null, event: "message", data: "" };
      const data = [];
      for (const line of part.split(/\r?\n/)) {
        const at = line.indexOf(":");
        if (at < 1) continue;
        const value = line.slice(line[at + 1] === " " ? at + 2 : at + 1);
        const name = line.slice(0, at);
        if (name === "data") data.push(value);
        else if (name === "id" || name === "event") message[name] = value;
      }
      message.data = data.join("\n");
      if (data.length) messages.push(message);
    }
    return messages;
  }
}

/** Reads until it is stopped. `onEvent(event)` gets each event, `onFresh()` says that the calls have to be read anew,
 *  `onState(state, words, retryAtMs)` is told `connecting`, `live`, `lost` or `refused`. */
export class Stream {
  constructor({ onEvent, onFresh, onState }) {
    Object.assign(this, { onEvent, onFresh, onState });
    this.stopped = true;
    this.last = null;
    this.lastAt = 0;
    this.received = 0;
    this.lagMs = null;
  }

  start() {
    if (!this.stopped) return;
    this.stopped = false;
    this.#run();
  }

  stop() {
    this.stopped = true;
    this.controller?.abort();
    this.wake?.();
  }

  end() {
    this.stop();
    Object.assign(this, { last: null, lastAt: 0 });
  }

  /** Tries again at once, where it waits for that. */
  hurry() {
    this.wake?.();
  }

  async #run() {
    let pauseMs = FIRST_PAUSE_MS;
    while (!this.stopped) {
      this.onState("connecting", "Connecting");
      let words = "The connection was lost";
      try {
        const began = Date.now();
        words = await this.#read();
        if (Date.now() - began > 10_000) pauseMs = FIRST_PAUSE_MS;
      } catch (error) {
        if (this.stopped) return;
        if (error instanceof Problem) {
          words = error.words;
          session.sawProblem(error);
          if (error.status === 401 || error.status === 403) {
            this.stopped = true;
            this.onState("refused", words);
            return;
          }
        }
      }
      if (this.stopped) return;
      const waitMs = pauseMs * (0.75 + Math.random() / 2);
      this.onState("lost", words, Date.now() + waitMs);
      await new Promise((resolve) => {
        this.wake = resolve;
        setTimeout(resolve, waitMs);
      });
      pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
    }
  }

  async #read() {
    if (Date.now() - this.lastAt > RESUME_WITHIN_MS) this.last = null;
    const resuming = this.last !== null;
    this.controller = new AbortController();
    const headers = { Authorization: `Bearer ${session.key()}`, Accept: "text/event-stream" };
    if (resuming) headers["Last-Event-ID"] = this.last;
    const silence = () => this.controller.abort();
    let watch = setTimeout(silence, SILENCE_MS);
    let reader;
    try {
      const response = await fetch(address("v1/stream"), {
        headers,
        signal: this.controller.signal,
        cache: "no-store",
        credentials: "omit",
        redirect: "error",
      });
      if (!response.ok) throw await problemOf(response);
      reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const messages = new Messages();
      let begun = false;
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return "The connection was lost";
        clearTimeout(watch);
        watch = setTimeout(silence, SILENCE_MS);
        this.lastAt = Date.now();
        if (!begun) {
          // What is committed from here on is told: what was before can be read now.
          begun = true;
          this.onState("live", "Live");
          if (!resuming) this.onFresh();
        }
        for (const message of messages.push(value)) {
          const words = this.#take(message);
          if (words !== null) return words;
        }
      }
    } finally {
      clearTimeout(watch);
      reader?.cancel().catch(() => {});
      this.controller.abort();
    }
  }

  /** Words where the server ends the stream, else null. */
  #take(message) {
    if (message.event === "reset") {
      this.last = null;
      this.onFresh();
      return null;
    }
    if (message.event === "dropped") return dropped(JSON.parse(message.data).reason);
    const event = JSON.parse(message.data);
    this.last = message.id;
    this.received += 1;
    this.lagMs = session.nowMs() - Date.parse(event.timestamp);
    this.onEvent(event);
    return null;
  }
}

function dropped(reason) {
  const words = {
    slow: "This page could not keep up",
    key: "The key was revoked",
    database: "The database is not available",
    stopping: "callengine is stopping",
  };
  return words[reason] ?? "The connection was ended";
}
