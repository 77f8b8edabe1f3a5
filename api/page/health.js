// How the engine is doing: what it is connected to, and what it is behind with.

import { cell, el, Keyed, row, rowHead, setText, table } from "./dom.js";
import { nowMs } from "./session.js";
import { age, bytes, plural, when } from "./words.js";

const LOOK_MS = 3000;

const STATES = {
  ready: "connected",
  disconnected: "not connected",
  connecting: "connecting",
  authenticating: "logging in",
  subscribing: "connected, asking for events",
  backing_off: "not connected, tries again shortly",
  stopped: "stopped",
};

const count = (one, many) => (parts, name) => plural(Number(parts[name]), one, many);

// What each part is called, what it says, from where on it is not well, and what that means.
const ROWS = [
  {
    part: "switch",
    title: "Event socket",
    says: (parts) => STATES[parts.switch] ?? parts.switch,
    bad: isCut,
    means: "The connection to FreeSWITCH that everything is told by",
  },
  {
    part: "node",
    title: "Switch",
    says: (parts) => parts.node || "not known yet",
    means: "The name under which the calls of this FreeSWITCH are kept",
  },
  {
    part: "waiting_for",
    title: "Waits for",
    says: (parts) => (parts.waiting_for === "nothing" && isCut(parts) ? "the event socket" : parts.waiting_for),
    bad: (parts) => parts.waiting_for !== "nothing" || isCut(parts),
    means: "What has to come before calls are tracked again",
  },
  {
    part: "database",
    title: "Database",
    says: (parts) => (parts.database === "ok" ? "writes and reads" : parts.database),
    bad: (parts) => parts.database !== "ok",
    means: "While it is away calls are kept in the spool, and written later",
  },
  {
    part: "data_as_of",
    title: "Data as of",
    says: (parts) => `${when(parts.data_as_of)} (${age(behindS(parts))} ago)`,
    bad: (parts) => behindS(parts) > 5,
    means: "Up to when the database has everything that the switch told",
  },
  {
    part: "events_waiting",
    title: "Events waiting",
    says: withAge(count("event"), "events_waiting", "events_oldest_s"),
    bad: (parts) => Number(parts.events_oldest_s ?? 0) > 2,
    means: "Received from the switch, not yet applied to a call",
  },
  {
    part: "rows_waiting",
    title: "Rows waiting",
    says: withAge(count("row"), "rows_waiting", "rows_oldest_s"),
    bad: (parts) => Number(parts.rows_oldest_s ?? 0) > 5,
    means: "Applied, not yet committed to the database",
  },
  {
    part: "calls_queued",
    title: "Calls to place",
    says: count("call"),
    means: "Accepted, and waiting for a slot of [originate]",
  },
  {
    part: "webhooks_waiting",
    title: "Webhooks waiting",
    says: withAge(count("delivery", "deliveries"), "webhooks_waiting", "webhooks_oldest_s"),
    bad: (parts) => Number(parts.webhooks_oldest_s ?? 0) > 60 || Number(parts.webhooks_waiting) > 1000,
    means: "Counted every 30 s; receivers that are down have theirs waiting here",
  },
  {
    part: "endpoints_paused",
    title: "Webhook endpoints",
    says: (parts) => `${parts.endpoints_paused} failing, ${parts.endpoints_disabled} disabled by us`,
    bad: (parts) => parts.endpoints_paused !== "0" || parts.endpoints_disabled !== "0",
    means: "callengine webhook list names them; one that answered 410 Gone was disabled",
  },
  {
    part: "webhooks_dead",
    title: "Webhooks given up",
    says: count("delivery", "deliveries"),
    bad: (parts) => Number(parts.webhooks_dead) > 0,
    means: "Tried for a day; callengine webhook replay delivers them again",
  },
  {
    part: "recordings_waiting",
    title: "Recordings waiting",
    says: withAge(count("recording"), "recordings_waiting", "recordings_oldest_s", "overdue by"),
    bad: (parts) => Number(parts.recordings_oldest_s ?? 0) > 60,
    means: "Closed by the switch, not yet opened and measured",
  },
  {
    part: "analyses_waiting",
    title: "Analyses waiting",
    says: count("call"),
    means: "To be sent to Gemini; some wait for tomorrow's budget",
  },
  {
    part: "set_aside",
    title: "Set aside",
    says: (parts) => (parts.set_aside === "0" ? "nothing" : parts.set_aside),
    bad: (parts) => Number(parts.set_aside) > 0,
    means: "Could not be handled, and is kept: callengine quarantine list",
  },
  {
    part: "spool",
    title: "Spool",
    says: (parts) => `${parts.spool}, ${bytes(Number(parts.spool_bytes))}`,
    bad: (parts) => !["ok", "off"].includes(parts.spool),
    means: "What was received and is not committed, safe on the disk",
  },
  {
    part: "stream_readers",
    title: "Stream readers",
    says: count("reader"),
    means: "Pages like this one, and programs, that read events as they come",
  },
];
const SHOWN = new Set([...ROWS.map((one) => one.part), "endpoints_disabled", "spool_bytes"]);

/** Of a process that has no switch to be connected to that is not said. */
function isCut(parts) {
  return parts.switch !== "ready" && parts.switch !== "not held by this process";
}

function behindS(parts) {
  return Math.max(0, (nowMs() - Date.parse(parts.data_as_of)) / 1000);
}

function withAge(words, part, oldest, how = "the oldest for") {
  return (parts) => {
    const text = words(parts, part);
    return Number(parts[oldest] ?? 0) > 0 && Number(parts[part]) > 0
      ? `${text}, ${how} ${age(Number(parts[oldest]))}`
      : text;
  };
}

export class HealthView {
  constructor(app) {
    this.app = app;
  }

  mount(main) {
    this.app.title("Health");
    this.verdict = el("p", { class: "verdict" });
    const columns = [{ title: "Part" }, { title: "State" }, { title: "What it is" }];
    const engine = table("The engine's parts", columns, "list health");
    const page = table("This page", columns, "list health");
    this.engine = new Keyed(engine.body, (one) => one.part, makeRow, (element, one) => this.#update(element, one));
    this.page = new Keyed(page.body, (one) => one.part, makeRow, (element, one) => this.#update(element, one));
    main.replaceChildren(
      el("h1", {}, "Health"),
      this.verdict,
      el("h2", {}, "The engine"),
      engine.whole,
      el("h2", {}, "This page"),
      page.whole,
    );
    this.looking = setInterval(() => this.app.connection.look(), LOOK_MS);
    this.receivedBefore = this.app.connection.stream.received;
    this.rate = 0;
    this.app.connection.look();
    this.state();
  }

  leave() {
    clearInterval(this.looking);
  }

  state() {
    const { connection } = this.app;
    const { parts, ready, unreachable } = connection;
    const known = ROWS.filter((one) => one.part in parts && (one.part !== "data_as_of" || parts.data_as_of));
    // A later engine may tell of parts that this page has no words for.
    const others = Object.keys(parts)
      .filter((name) => !SHOWN.has(name) && !name.endsWith("_oldest_s"))
      .map((name) => ({ part: name, title: name.replaceAll("_", " "), says: () => parts[name], means: "" }));
    this.engine.show([...known, ...others]);
    const unwell = known.filter((one) => one.bad?.(parts)).map((one) => one.title);
    const well = ready && unwell.length === 0;
    const words = unreachable
      ? "callengine cannot be reached."
      : ready === null
        ? "Asking…"
        : ready
          ? well
            ? "All is well: the switch is connected and the database takes what is written."
            : `Ready, but not all is well: ${unwell.join(", ")}.`
          : "Not ready.";
    setText(this.verdict, words);
    this.verdict.dataset.light = ready === null && !unreachable ? "wait" : well && !unreachable ? "good" : "bad";
    this.#showPage();
  }

  tick() {
    const { received } = this.app.connection.stream;
    this.rate = received - this.receivedBefore;
    this.receivedBefore = received;
    this.#showPage();
  }

  #showPage() {
    const { connection, book } = this.app;
    const { stream } = connection;
    const lag = stream.lagMs;
    this.page.show([
      {
        part: "stream",
        title: "Stream",
        says: () => connection.word(),
        bad: () => connection.state !== "live",
        means: "The events of calls, as they come",
      },
      {
        part: "received",
        title: "Events read",
        says: () => `${stream.received.toLocaleString()}, ${this.rate} in the last second`,
        means: "Since you signed in",
      },
      {
        part: "lag",
        title: "Lag",
        says: () => (lag === null ? "no event yet" : age(Math.max(0, lag) / 1000)),
        bad: () => lag !== null && lag > 5000,
        means: "From the commit of the last event until it was here",
      },
      { part: "live", title: "Live calls", says: () => book.counts().total.toLocaleString(), means: "Yours" },
    ]);
  }

  #update(element, one) {
    const { parts } = this.app.connection;
    const bad = one.bad?.(parts) ?? false;
    setText(element.parts.title, one.title);
    setText(element.parts.says, String(one.says(parts, one.part)));
    setText(element.parts.means, one.means);
    element.parts.light.dataset.light = bad ? "bad" : "good";
    setText(element.parts.light, bad ? "Not well: " : "");
  }
}

function makeRow() {
  const parts = { title: el("span"), says: el("bdi"), means: el("span"), light: el("span", { class: "light" }) };
  const made = row(
    rowHead({}, parts.title),
    cell({ class: "says" }, parts.light, parts.says),
    cell({ class: "means" }, parts.means),
  );
  made.parts = parts;
  return made;
}
