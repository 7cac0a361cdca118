// The figures of all gateways together: those of the last 15 minutes, and then each new step. A hidden page reads nothing.

import { signal } from "@preact/signals";
import { type Api, CalloutError } from "../../shared/api.ts";
import type { StatsPoint } from "../../shared/schema.ts";

const MAX_POINTS = 450;
const EVERY_MS = 2000;

export class Stats {
  readonly points = signal<StatsPoint[]>([]);
  readonly error = signal<CalloutError | null>(null);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #readers = 0;

  constructor(private readonly api: Api) {
    document.addEventListener("visibilitychange", () => this.#schedule(0));
  }

  /** Read the figures as long as a part of the page shows them. Return a function that ends this. */
  follow(): () => void {
    this.#readers++;
    this.#schedule(0);
    return () => {
      this.#readers--;
      if (!this.#readers) clearTimeout(this.#timer);
    };
  }

  #schedule(ms: number): void {
    clearTimeout(this.#timer);
    if (this.#readers && !document.hidden) this.#timer = setTimeout(() => this.#read(), ms);
  }

  async #read(): Promise<void> {
    try {
      const since = this.points.value.at(-1)?.at;
      const { items } = await this.api.call("GET /v1/stats", { query: { since }, patience: 0 });
      if (items.length) this.points.value = [...this.points.value, ...items].slice(-MAX_POINTS);
      this.error.value = null;
    } catch (error) {
      this.error.value = error as CalloutError;
    }
    this.#schedule(EVERY_MS);
  }
}
