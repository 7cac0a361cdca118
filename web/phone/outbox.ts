// What a person has done and the server has not answered yet: steps of jobs and bookings. Each is stored in the browser with
// its request key before it is sent, so that it survives a reload, and is sent again with the same key until there is an
// answer: the server does it once.
//
// Requests are sent one after the other, in the order in which they were made. (Rejected: IndexedDB. What waits is a
// few hundred bytes, and a write to localStorage is complete when the call returns, also in a page that is being
// closed.)

import { signal } from "@preact/signals";
import { CalloutError } from "../shared/api.ts";
import type { Live } from "../shared/live.ts";
import { readStored, store } from "../shared/platform.ts";
import { serverNow } from "../shared/time.ts";

/** One request that waits for its answer. `job` is the job that it is about; `what` is the command, for the page.
 * `isOld`: an earlier page has made it. */
export interface Pending {
  key: string;
  at: number;
  method: string;
  path: string;
  body?: unknown;
  job?: string;
  what: string;
  isOld?: boolean;
}

// deno-lint-ignore no-explicit-any
type Answer = any;
interface Waiter {
  done: (answer: Answer) => void;
  fail: (error: CalloutError) => void;
}

const RETRY_MS = 3_000;
const PATIENCE_S = 15;
/** The server recognises a repeated booking for one day. A request that has waited for 23 hours is given up. */
const GIVE_UP_MS = 23 * 3_600_000;
/** Routes below a job whose bodies do not say when the step was taken. */
const WITHOUT_TIME = new Set(["bids", "price-proposals", "disputes", "ratings", "shares", "sign", "respond"]);

export class Outbox {
  /** What waits, in order. */
  readonly pending = signal<Pending[]>([]);
  /** Called with the answer or the refusal of each request, also of those that an earlier page has made. */
  onAnswer: (sent: Pending, answer: Answer | null, error: CalloutError | null) => void = () => {};
  readonly #waiters = new Map<string, Waiter>();
  readonly #name: string;
  #isSending = false;
  #isStopped = false;

  constructor(private readonly live: Live, user: string) {
    this.#name = `outbox.${user}`;
  }

  /** Send what an earlier page of this user has not sent. */
  start(): void {
    this.pending.value = this.#read().map((each) => ({ ...each, isOld: true }));
    void this.#sendAll();
  }

  stop(): void {
    this.#isStopped = true;
  }

  /** Send a request that changes something. Return the answer; rejects with a CalloutError if it is refused. A step that
   * is taken without a connection says when it was taken. */
  send(method: string, path: string, body: object, about: { what: string; job?: string }): Promise<Answer> {
    const [, , noun, , verb] = path.split("/");
    const isLate = this.live.status.peek() !== "connected" && noun === "jobs" && verb && !WITHOUT_TIME.has(verb);
    const time = isLate ? { occurred_at: new Date(serverNow()).toISOString() } : {};
    const one: Pending = {
      key: crypto.randomUUID(),
      at: Date.now(),
      method,
      path,
      body: { ...body, ...time },
      ...about,
    };
    this.pending.value = [...this.pending.value, one];
    this.#store((stored) => [...stored, one]);
    return new Promise((done, fail) => {
      this.#waiters.set(one.key, { done, fail });
      void this.#sendAll();
    });
  }

  /** Whether a request about this job waits. */
  waitsFor(job: string): boolean {
    return this.pending.value.some((each) => each.job === job);
  }

  #read(): Pending[] {
    try {
      const stored = JSON.parse(readStored(this.#name) ?? "[]") as Pending[];
      return stored.filter((each) => Date.now() - each.at < GIVE_UP_MS);
    } catch {
      return [];
    }
  }

  /** Change what is stored. Another tab of the user may have stored something since. */
  #store(change: (stored: Pending[]) => Pending[]): void {
    const changed = change(this.#read());
    store(this.#name, changed.length ? JSON.stringify(changed) : null);
  }

  async #sendAll(): Promise<void> {
    if (this.#isSending) return;
    this.#isSending = true;
    for (let next; !this.#isStopped && (next = this.pending.value[0]);) await this.#sendOne(next);
    this.#isSending = false;
  }

  async #sendOne(one: Pending): Promise<void> {
    const how = { key: one.key, patience: PATIENCE_S };
    try {
      this.#finish(one, await this.live.callout.http(one.method, one.path, one.body, how), null);
    } catch (refusal) {
      const lost = { code: "unreachable", title: String(refusal) };
      const error = refusal instanceof CalloutError ? refusal : new CalloutError(lost);
      const isRefused = !error.retryable && error.code !== "ended" && error.code !== "unauthenticated";
      if (isRefused || Date.now() - one.at > GIVE_UP_MS) this.#finish(one, null, error);
      else await new Promise((done) => setTimeout(done, RETRY_MS));
    }
  }

  #finish(one: Pending, answer: Answer | null, error: CalloutError | null): void {
    if (this.#isStopped) return;
    const isOther = (each: Pending) => each.key !== one.key;
    this.pending.value = this.pending.value.filter(isOther);
    this.#store((stored) => stored.filter(isOther));
    const waiter = this.#waiters.get(one.key);
    this.#waiters.delete(one.key);
    this.onAnswer(one, answer, error);
    if (error) waiter?.fail(error);
    else waiter?.done(answer);
  }
}
