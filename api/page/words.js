// How things are said: times, durations, states.

export const LIVE = ["dialing", "ringing", "answered", "agent_connected"];

const STATUS = {
  dialing: "Dialling",
  ringing: "Ringing",
  answered: "Answered",
  agent_connected: "With an agent",
  completed: "Completed",
  failed: "Failed",
};

export const STATUSES = Object.keys(STATUS);

export function statusWord(status) {
  return STATUS[status] ?? status;
}

export function isLive(call) {
  return LIVE.includes(call.status);
}

const clockFormat = new Intl.DateTimeFormat(undefined, { timeStyle: "medium", hourCycle: "h23" });
const dayFormat = new Intl.DateTimeFormat(undefined, { dateStyle: "medium" });

/** The time of day; with the day where that is not today. */
export function when(iso) {
  if (!iso) return "–";
  const at = new Date(iso);
  const clock = clockFormat.format(at);
  return at.toDateString() === new Date().toDateString() ? clock : `${dayFormat.format(at)}, ${clock}`;
}

/** The time of day to the millisecond, as the switch stamped it. */
export function stamp(iso) {
  if (!iso) return "–";
  const at = new Date(iso);
  return `${clockFormat.format(at)}.${String(at.getMilliseconds()).padStart(3, "0")}`;
}

/** Seconds as 0:07, 12:34 or 1:02:03. */
export function span(seconds) {
  if (seconds === null || seconds === undefined || Number.isNaN(seconds)) return "–";
  const whole = Math.max(0, Math.floor(seconds));
  const parts = [Math.floor(whole / 60) % 60, whole % 60];
  const hours = Math.floor(whole / 3600);
  if (hours) return [hours, ...parts.map((part) => String(part).padStart(2, "0"))].join(":");
  return `${parts[0]}:${String(parts[1]).padStart(2, "0")}`;
}

/** A duration in words, as for an age: "0.3 s", "12 s", "4 min", "3 h". */
export function age(seconds) {
  if (seconds < 10) return `${Math.max(0, seconds).toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  return `${Math.round(seconds / 3600)} h`;
}

/** Who is at the far end: the name if there is one, and the number. */
export function farEnd(call) {
  const inbound = call.direction === "inbound";
  const number = (inbound ? call.caller_number : call.callee_number) || "unknown number";
  const name = inbound && call.caller_name && call.caller_name !== number ? call.caller_name : null;
  return { name, number };
}

export function bytes(count) {
  if (count < 1024) return `${count} B`;
  if (count < 1024 * 1024) return `${(count / 1024).toFixed(0)} kB`;
  return `${(count / 1024 / 1024).toFixed(1)} MB`;
}

export function plural(count, one, many = `${one}s`) {
  return `${count.toLocaleString()} ${count === 1 ? one : many}`;
}

/** NORMAL_CLEARING → Normal clearing. */
export function readable(token) {
  const text = String(token).replaceAll("_", " ").toLowerCase();
  return text.charAt(0).toUpperCase() + text.slice(1);
}

const SOURCES = {
  event: ["switch", "The switch said so when it happened"],
  snapshot: ["list", "Seen in the switch's own list of channels"],
  cdr: ["CDR", "By the switch's record of the call, afterwards"],
  clock: ["our clock", "By the clock of callengine"],
  bounds: ["bounds", "Nobody stamped it; it lies between two moments that are known"],
};

/** By whose word a fact is known, short and long. */
export function source(name) {
  return SOURCES[name] ?? [name, name];
}
