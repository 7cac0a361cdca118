// The events of the log as they arrive: the last pushes of the connection, for the activity page.

import { signal } from "@preact/signals";
import type { Push } from "../../shared/live.ts";

const MAX_EVENTS = 500;

export class LogTail {
  /** The last events of the log, the newest first. */
  readonly events = signal<Push[]>([]);
  /** While the page is paused, new events wait here. */
  readonly paused = signal(false);
  readonly waiting = signal(0);
  #held: Push[] = [];

  apply(pushes: Push[]): void {
    const logged = pushes.filter((push) => push.seq !== undefined);
    if (!logged.length) return;
    this.#held = [...logged.reverse(), ...this.#held].slice(0, MAX_EVENTS);
    if (this.paused.value) this.waiting.value = Math.min(MAX_EVENTS, this.waiting.value + logged.length);
    else this.#show();
  }

  setPaused(paused: boolean): void {
    this.paused.value = paused;
    if (!paused) this.#show();
  }

  #show(): void {
    this.waiting.value = 0;
    if (this.#held.length) this.events.value = [...this.#held, ...this.events.value].slice(0, MAX_EVENTS);
    this.#held = [];
  }
}
