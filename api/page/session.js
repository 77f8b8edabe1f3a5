// Who is signed in, in this tab alone; and what the answers tell beside their content: the server's clock, and faults.

const KEY = "callengine.key";

const listeners = new Set();
let scopes = new Set();
let offsetMs = 0;

export function key() {
  return sessionStorage.getItem(KEY) ?? "";
}

export function signIn(text, granted) {
  sessionStorage.setItem(KEY, text);
  scopes = new Set(granted);
}

export function signOut() {
  sessionStorage.removeItem(KEY);
  scopes = new Set();
}

export function allows(scope) {
  return scopes.has(scope);
}

/** `listener(problem)` is told of every answer that is a fault. */
export function onProblem(listener) {
  listeners.add(listener);
}

export function sawProblem(problem) {
  for (const listener of listeners) listener(problem);
}

/** Learns the server's clock from an answer's Date, which is cut to whole seconds. Small differences are left alone. */
export function sawDate(text, beganMs, endedMs) {
  const at = text === null ? NaN : Date.parse(text);
  if (Number.isNaN(at)) return;
  const difference = at + 500 - (beganMs + endedMs) / 2;
  offsetMs = Math.abs(difference) > 1500 ? difference : 0;
}

/** Now, by the server's clock: how long a call lasts does not depend on how this device's clock is set. */
export function nowMs() {
  return Date.now() + offsetMs;
}
