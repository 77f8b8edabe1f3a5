// The calls that are live, kept from the stream and from reads. Which of two tellings is newer, `seq` says.

import { get } from "./api.js";
import { isLive, LIVE } from "./words.js";

const PAGE_SIZE = 200;
const LINGER_MS = 4000;
const MANY = 400;
// What ended is remembered for so long: a read that began before may still call it live.
const REMEMBERED_MS = 60_000;

/** What the list of live calls shows of one. The rest of a call is not kept. */
function slim(call) {
  const times = ["queued_time", "dial_time", "ring_time", "answer_time", "agent_connect_time", "end_time"];
  const [queued, dialed, rang, answered, connected, ended] = times.map((name) => (call[name] ? Date.parse(call[name]) : null));
  const since = { dialing: dialed ?? queued, ringing: rang, answered, agent_connected: connected };
  return {
    id: call.id,
    seq: call.seq,
    status: call.status,
    direction: call.direction,
    caller_name: call.caller_name,
    caller_number: call.caller_number,
    callee_number: call.callee_number,
    agent_id: call.agent_id,
    queue: call.queue,
    campaign_id: call.campaign_id,
    lead_id: call.lead_id,
    hangup_cause: call.hangup_cause ?? call.failure_reason,
    began: dialed ?? queued ?? 0,
    since: since[call.status] ?? dialed ?? queued,
    ended,
    over: !isLive(call),
    overAt: 0,
    words: null,
  };
}

export class LiveBook {
  constructor() {
    this.calls = new Map();
    this.ended = new Map();
    this.loaded = false;
    this.version = 0;
  }

  clear() {
    this.calls.clear();
    this.ended.clear();
    this.loaded = false;
    this.version += 1;
  }

  /** Takes a call as it was told or read. Whether it is news. */
  take(call) {
    const known = this.calls.get(call.id);
    if (known !== undefined && known.seq > call.seq) return false;
    const forgotten = this.ended.get(call.id);
    if (forgotten !== undefined && forgotten.seq >= call.seq) return false;
    const fresh = slim(call);
    if (fresh.over) {
      this.ended.set(call.id, { seq: call.seq, at: Date.now() });
      // It stays for a moment, so that one sees what became of it; not where there are too many to look at.
      if (known === undefined || this.calls.size > MANY) {
        this.calls.delete(call.id);
      } else {
        fresh.overAt = Date.now();
        this.calls.set(call.id, fresh);
      }
    } else {
      this.ended.delete(call.id);
      this.calls.set(call.id, fresh);
    }
    this.version += 1;
    return true;
  }

  /** Forgets what is over for long enough. */
  sweep() {
    const now = Date.now();
    for (const [id, call] of this.calls) {
      if (call.over && now - call.overAt > LINGER_MS) {
        this.calls.delete(id);
        this.version += 1;
      }
    }
    for (const [id, one] of this.ended) {
      if (now - one.at < REMEMBERED_MS) break;
      this.ended.delete(id);
    }
  }

  /** Reads all live calls; what was here and is not among them, nor was told of meanwhile, is gone. Throws `Problem`. */
  async read(signal) {
    const before = new Map([...this.calls].map(([id, call]) => [id, call.seq]));
    const seen = new Set();
    for (const status of LIVE) {
      for await (const call of listed(status, signal)) {
        seen.add(call.id);
        this.take(call);
      }
    }
    for (const [id, seq] of before) {
      const call = this.calls.get(id);
      if (!seen.has(id) && call !== undefined && call.seq === seq && !call.over) this.calls.delete(id);
    }
    this.loaded = true;
    this.version += 1;
  }

  counts() {
    const counts = Object.fromEntries(LIVE.map((status) => [status, 0]));
    let total = 0;
    for (const call of this.calls.values()) {
      if (call.over) continue;
      counts[call.status] += 1;
      total += 1;
    }
    return { total, ...counts };
  }
}

/** All calls of a status. The pages go by time: with page numbers, each call that ends would hide another one. */
async function* listed(status, signal) {
  const ids = new Set();
  let query = { status, page_size: PAGE_SIZE };
  for (;;) {
    const answer = await get("v1/calls", query, { signal });
    const fresh = answer.data.filter((call) => !ids.has(call.id));
    for (const call of fresh) {
      ids.add(call.id);
      yield call;
    }
    const last = answer.data.at(-1);
    if (answer.data.length < PAGE_SIZE || fresh.length === 0) return;
    if (last.dial_time === null) {
      query = { ...query, page: (query.page ?? 1) + 1 };
    } else {
      const before = new Date(Date.parse(last.dial_time) + 1).toISOString();
      query = { status, page_size: PAGE_SIZE, dialed_before: before };
    }
  }
}
