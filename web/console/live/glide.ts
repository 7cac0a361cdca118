// Let dots move to where they are now instead of jumping. Only some hundreds at once: a city of thousands jumps.

import type { Place } from "../../shared/map.ts";

const GLIDE_MS = 600;
const FRAME_MS = 50;
const MAX_GLIDING = 400;
/** With more dots than this, all of them jump: each step of a glide makes the map cut all dots into tiles again. */
const MAX_DOTS = 600;

interface Way {
  from: Place;
  to: Place;
  began: number;
}

export class Glide {
  readonly #ways = new Map<string, Way>();
  readonly #places = new Map<string, Place>();
  readonly #still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  #last = 0;
  #running = false;

  /** `show` draws the dot `id` at a place. */
  constructor(private readonly show: (id: string, place: Place) => void) {}

  /** Move a dot to `to`, at once if it is new. */
  move(id: string, to: Place): void {
    const from = this.#places.get(id);
    this.#places.set(id, from ?? to);
    const isMany = this.#ways.size >= MAX_GLIDING || this.#places.size > MAX_DOTS;
    const isSame = from && from[0] === to[0] && from[1] === to[1];
    if (!from || isSame || isMany || this.#still || document.hidden) {
      this.#ways.delete(id);
      this.#put(id, to);
      return;
    }
    this.#ways.set(id, { from, to, began: performance.now() });
    this.#run();
  }

  forget(id: string): void {
    this.#ways.delete(id);
    this.#places.delete(id);
  }

  clear(): void {
    this.#ways.clear();
    this.#places.clear();
  }

  #put(id: string, place: Place): void {
    this.#places.set(id, place);
    this.show(id, place);
  }

  #run(): void {
    if (this.#running) return;
    this.#running = true;
    const step = (now: number) => {
      if (now - this.#last >= FRAME_MS) {
        this.#last = now;
        for (const [id, way] of this.#ways) this.#advance(id, way, now);
      }
      this.#running = this.#ways.size > 0;
      if (this.#running) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  #advance(id: string, { from, to, began }: Way, now: number): void {
    const share = Math.min(1, (now - began) / GLIDE_MS);
    this.#put(id, [from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share]);
    if (share === 1) this.#ways.delete(id);
  }
}
