// The live connection of one app: the socket of the browser client, with its state as signals, and its events batched
// for each frame of the screen.

import { signal } from "@preact/signals";
import { Callout } from "../../clients/javascript/callout.js";
import { Api } from "./api.ts";
import type { PushType } from "./schema.ts";
import type { Session } from "./session.ts";
import { setServerTime } from "./time.ts";

/** One push: an event of the log (it has `seq`), or a live message such as a position. */
export interface Push {
  type: PushType;
  event: string;
  zone?: string;
  seq?: number;
  at: string;
  // deno-lint-ignore no-explicit-any
  data: any;
}

export interface Sync {
  // deno-lint-ignore no-explicit-any
  snapshot: any;
  zones: string[];
  reasons: Record<string, string>;
}

export type Status = "connected" | "reconnecting" | "offline";

export class Live {
  readonly callout: Callout;
  readonly api: Api;
  readonly status = signal<Status>("offline");
  /** `polling` while sockets are blocked. */
  readonly transport = signal<"socket" | "polling" | null>(null);
  /** When the connection was lost, in ms of `performance.now()`; null while there is one. What is on the screen is that old. */
  readonly lostAt = signal<number | null>(null);
  /** Why the connection is over for good; "" otherwise. */
  readonly reason = signal("");

  constructor(readonly session: Session) {
    const app = { name: session.app, version: "web", device: `${session.app}-${crypto.randomUUID()}` };
    this.callout = new Callout({ token: session.token, app });
    this.api = new Api(this.callout);
    this.callout.addEventListener("status", this.#onStatus);
  }

  /** Connect, and reconnect until `close`. */
  open(): void {
    this.callout.open();
  }

  close(): void {
    this.callout.close();
  }

  /** Call `handle` with each push, in order. Return a function that ends this. */
  onPush(handle: (push: Push) => void): () => void {
    const listener = (event: Event) => handle((event as CustomEvent).detail);
    this.callout.addEventListener("event", listener);
    return () => this.callout.removeEventListener("event", listener);
  }

  /** Call `handle` with a snapshot at the first connection and whenever events may have been lost. */
  onSync(handle: (sync: Sync) => void): () => void {
    const listener = (event: Event) => handle((event as CustomEvent).detail);
    this.callout.addEventListener("sync", listener);
    return () => this.callout.removeEventListener("sync", listener);
  }

  /** Call `handle` with the pushes that arrived since the last frame of the screen, once for each frame. A hidden page
   * has no frames: its pushes wait, up to 5,000, and are handled when it is shown. */
  onFrame(handle: (pushes: Push[]) => void): () => void {
    const batch = batchPerFrame<Push>(handle);
    return this.onPush(batch);
  }

  /** Send an operation on the socket, such as `subscribe`. Rejects with a CalloutError. */
  // deno-lint-ignore no-explicit-any
  request(op: string, args: Record<string, unknown> = {}): Promise<any> {
    return this.callout.request(op, args);
  }

  #onStatus = (event: Event) => {
    const { status, transport, reason } = (event as CustomEvent).detail;
    this.status.value = status;
    this.transport.value = transport;
    this.reason.value = status === "offline" ? reason ?? "" : "";
    if (status !== "connected") this.lostAt.value ??= performance.now();
    else {
      this.lostAt.value = null;
      if (this.callout.session?.now) setServerTime(this.callout.session.now);
    }
  };
}

const MAX_BATCH = 5_000;

/** Return a function that collects its arguments and passes them to `handle` once for each frame of the screen. */
export function batchPerFrame<T>(handle: (items: T[]) => void): (item: T) => void {
  let waiting: T[] = [];
  let requested = false;
  return (item) => {
    waiting.push(item);
    if (waiting.length >= MAX_BATCH) flush();
    else if (!requested) {
      requested = true;
      requestAnimationFrame(() => {
        requested = false;
        flush();
      });
    }
  };
  function flush() {
    const items = waiting;
    waiting = [];
    if (items.length) handle(items);
  }
}
