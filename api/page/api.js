// Asking the API. The key goes into the Authorization header, and nowhere else.

import * as session from "./session.js";

const TIMEOUT_MS = 20_000;
// Wherever the blueprint is mounted, the API is beside the page.
const BASE = new URL("./", document.baseURI);

/** What went wrong, in words. `status` 0: nobody answered. */
export class Problem extends Error {
  constructor(status, detail, more = {}) {
    super(detail);
    this.status = status;
    this.code = (more.type ?? "").split(":").pop();
    this.errors = more.errors ?? [];
    this.scope = more.scope ?? null;
    this.dataAsOf = more.data_as_of ?? null;
  }

  /** A sentence for people. */
  get words() {
    if (this.status === 0) return this.message;
    if (this.code === "store-unavailable") return "The database is not available at the moment.";
    if (this.status === 401) return "This key is not known (any more).";
    if (this.status === 403 && this.scope) return `This key lacks the scope ${this.scope}.`;
    const places = this.errors.map((error) => `${error.loc.slice(1).join(".")} ${error.msg}`.trim());
    return `${[this.message, ...places].join("; ")}.`;
  }
}

export function address(path, query = {}) {
  const url = new URL(path, BASE);
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== "") url.searchParams.set(name, value);
  }
  return url;
}

/** The recording behind a signed URL, at our own origin: the one in the settings may be what others know us by. */
export function recordingAddress(signed) {
  const at = signed.indexOf("v1/recordings/");
  return at < 0 ? signed : new URL(signed.slice(at), BASE).href;
}

export async function problemOf(response) {
  let body = {};
  try {
    body = await response.json();
  } catch {
    // A proxy between us and callengine may answer whatever it likes.
  }
  return new Problem(response.status, body.detail ?? `HTTP ${response.status}`, body);
}

/** One request, and its answer's JSON. Throws `Problem`. */
export async function ask(method, path, { query, body, key = session.key(), signal, accepts = [] } = {}) {
  const headers = { Authorization: `Bearer ${key}`, Accept: "application/json" };
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const signals = [AbortSignal.timeout(TIMEOUT_MS), ...(signal ? [signal] : [])];
  const began = Date.now();
  let response;
  try {
    response = await fetch(address(path, query), {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.any(signals),
      cache: "no-store",
      credentials: "omit",
      redirect: "error",
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    const late = error.name === "TimeoutError";
    throw new Problem(0, late ? "callengine did not answer in time." : "callengine cannot be reached.");
  }
  session.sawDate(response.headers.get("Date"), began, Date.now());
  if (!response.ok && !accepts.includes(response.status)) {
    const problem = await problemOf(response);
    session.sawProblem(problem);
    throw problem;
  }
  try {
    return await response.json();
  } catch {
    throw new Problem(0, "what came was not an answer of callengine's.");
  }
}

export const get = (path, query, more = {}) => ask("GET", path, { query, ...more });

/** All rows of a list, page by page, up to `most`. */
export async function all(path, query = {}, most = 1000) {
  const rows = [];
  for (let page = 1; rows.length < most; page += 1) {
    const answer = await get(path, { ...query, page, page_size: 200 });
    rows.push(...answer.data);
    if (page >= answer.total_pages) break;
  }
  return rows;
}
