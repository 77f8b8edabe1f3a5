// The recordings of a call, each with a player. The player is kept while it is played, whatever else is told.

import { recordingAddress } from "./api.js";
import { el, foreign, Keyed, setText } from "./dom.js";
import { names } from "./lanes.js";
import { bytes, readable, span, when } from "./words.js";

const STATES = {
  recording: "Being recorded",
  stopped: "Recorded, about to be looked at",
  discarded: "Thrown away by the switch",
  ready: "Ready",
  failed: "Cannot be used",
  deleted: "Deleted",
};

export class Recordings {
  /** `onExpired()` is to read the call again: its links are signed for a time. */
  constructor(onExpired) {
    this.onExpired = onExpired;
    this.element = el("div");
    this.none = el("p", { class: "help" }, "It was not recorded.");
    this.list = el("ul", { class: "recordings" });
    this.element.append(this.none, this.list);
    this.players = new Keyed(this.list, (one) => one.id, (one) => this.#make(one), (element, one) => this.#update(element, one));
  }

  show(call) {
    this.call = call;
    this.known = names(call);
    this.none.hidden = call.recordings.length > 0;
    this.players.show(call.recordings);
  }

  #make() {
    const parts = {
      title: el("strong"),
      facts: el("span", { class: "help" }),
      wrong: el("p", { class: "wrong", role: "status" }),
      audio: el("audio", { controls: true, preload: "metadata", hidden: true }),
      save: el("a", { class: "save", hidden: true }, "Save"),
    };
    const made = el("li", {}, el("p", {}, parts.title, " ", parts.facts, " ", parts.save), parts.audio, parts.wrong);
    made.parts = parts;
    parts.audio.addEventListener("error", () => this.#failed(parts));
    parts.audio.addEventListener("loadedmetadata", () => this.#loaded(parts));
    return made;
  }

  #update(element, recording) {
    const { parts } = element;
    const on = this.known.get(recording.leg) ?? "another channel";
    const seconds = recording.duration_ms === null ? null : recording.duration_ms / 1000;
    setText(parts.title, STATES[recording.status] ?? readable(recording.status));
    parts.title.dataset.recording = recording.status;
    const facts = [
      seconds === null ? null : span(seconds),
      on,
      recording.start_time ? `from ${when(recording.start_time)}` : null,
      recording.bytes === null ? null : bytes(recording.bytes),
      recording.channels === 2 ? "stereo" : null,
      recording.reason ? readable(recording.reason) : null,
    ];
    parts.facts.replaceChildren(foreign(facts.filter(Boolean).join(", ")));
    parts.audio.setAttribute("aria-label", `Recording of ${on}, ${span(seconds)}`);
    parts.url = recording.url === null ? null : recordingAddress(recording.url);
    parts.audio.hidden = parts.save.hidden = parts.url === null;
    if (parts.url === null) {
      parts.audio.removeAttribute("src");
      return;
    }
    parts.save.href = parts.url;
    parts.save.download = "";
    // A link that works is left alone: another one for the same file would begin again.
    if (!parts.audio.src || parts.broken) this.#load(parts);
  }

  #load(parts) {
    parts.at = parts.audio.currentTime || parts.at || 0;
    parts.broken = false;
    parts.audio.src = parts.url;
  }

  #loaded(parts) {
    parts.tries = 0;
    setText(parts.wrong, "");
    if (parts.at) parts.audio.currentTime = parts.at;
    parts.at = 0;
    parts.then?.();
    parts.then = null;
  }

  #failed(parts) {
    if (!parts.audio.getAttribute("src")) return;
    parts.at = parts.audio.currentTime || parts.at || 0;
    parts.broken = true;
    parts.tries = (parts.tries ?? 0) + 1;
    if (parts.tries === 1) this.onExpired();
    else setText(parts.wrong, "It cannot be played: the file may be gone, or of a kind that this browser does not play.");
  }

  /** Whether a place in what was sent to the analysis can be listened to. */
  get playable() {
    return this.#ready().length > 0;
  }

  #ready() {
    return this.call ? this.call.recordings.filter((one) => one.url !== null) : [];
  }

  /** Plays from a place in the recordings one after the other, in ms: that is how transcripts count. */
  seek(offsetMs) {
    let left = offsetMs;
    const ready = this.#ready();
    for (const [at, one] of ready.entries()) {
      const last = at === ready.length - 1;
      if (left < (one.duration_ms ?? 0) || last) {
        this.#play(this.players.elements.get(one.id).parts, left / 1000);
        return;
      }
      left -= one.duration_ms ?? 0;
    }
  }

  #play(parts, seconds) {
    const go = () => {
      parts.audio.currentTime = seconds;
      parts.audio.play().catch(() => {
        // A browser may want a click on the player itself; the place is set.
      });
    };
    if (parts.audio.readyState > 0) go();
    else parts.then = go;
    parts.audio.scrollIntoView({ block: "nearest" });
  }
}
