// The map of a zone: a snapshot, then what changes. Thousands of changes a second pass here, so the data is in no
// signal: a reader gets the changes of one frame of the screen at once.

import type { Live, Push } from "../../shared/live.ts";
import type { MapCluster, MapJob, MapPerson } from "../../shared/schema.ts";

export type MapThing = MapPerson | MapJob | MapCluster;
export type Box = [west: number, south: number, east: number, north: number];

/** What changed since the last frame: things by id or cell, and the ids that left. `whole`: everything was replaced. */
export interface MapChange {
  whole: boolean;
  put: Map<string, MapThing>;
  left: Set<string>;
}

export function isPerson(thing: MapThing): thing is MapPerson {
  return "state" in thing;
}
export function isJob(thing: MapThing): thing is MapJob {
  return "phase" in thing;
}
function nameOf(thing: MapThing): string {
  return "cell" in thing ? thing.cell : thing.id;
}

const EVERY_S = 0.5;

export class MapFeed {
  readonly things = new Map<string, MapThing>();
  /** When the last frame arrived, in ms of `performance.now()`; 0 before the first. */
  updatedAt = 0;
  #k = 0;
  #box: Box | null = null;
  #waiting: MapChange = emptyChange();
  #requested = false;
  #readers = new Set<(change: MapChange) => void>();

  constructor(private readonly live: Live, private readonly zone: string) {
    live.onPush(this.#onPush);
  }

  /** Call `read` with the changes of each frame of the screen, and at once with all that is known. */
  onChange(read: (change: MapChange) => void): () => void {
    this.#readers.add(read);
    read({ whole: true, put: new Map(this.things), left: new Set() });
    return () => this.#readers.delete(read);
  }

  /** Show this box of the map: subscribe to what is inside. The next snapshot replaces everything. Rejects with a
   * CalloutError. */
  async look(box: Box): Promise<void> {
    this.#box = box;
    const view = { bbox: box, layers: ["people", "jobs"], every_s: EVERY_S };
    await this.live.request("subscribe", { channel: `map:${this.zone}`, ...view });
  }

  #onPush = ({ type, data }: Push) => {
    if (data?.zone !== this.zone) return;
    if (type === "map.snapshot") this.#begin(data);
    else if (type === "map.delta") this.#advance(data);
  };

  #begin(data: { k: number; people?: MapPerson[]; jobs?: MapJob[]; clusters: MapCluster[] }): void {
    this.#k = data.k;
    this.things.clear();
    this.#waiting = { ...emptyChange(), whole: true };
    for (const thing of [...(data.people ?? []), ...(data.jobs ?? []), ...data.clusters]) this.#put(thing);
    this.#schedule();
  }

  #advance(data: { k: number; entered: MapThing[]; moved: MapThing[]; left: string[] }): void {
    if (this.#k < 0) return; // a snapshot is on its way
    if (data.k !== this.#k + 1) {
      this.#k = -1;
      if (this.#box) this.look(this.#box).catch(() => {}); // the next connection subscribes again
      return;
    }
    this.#k = data.k;
    for (const thing of data.entered) this.#put(thing);
    for (const thing of data.moved) this.#put(thing);
    for (const name of data.left) {
      this.things.delete(name);
      this.#waiting.put.delete(name);
      this.#waiting.left.add(name);
    }
    this.#schedule();
  }

  #put(thing: MapThing): void {
    const name = nameOf(thing);
    this.things.set(name, thing);
    this.#waiting.left.delete(name);
    this.#waiting.put.set(name, thing);
  }

  #schedule(): void {
    this.updatedAt = performance.now();
    if (this.#requested) return;
    this.#requested = true;
    requestAnimationFrame(() => {
      this.#requested = false;
      const change = this.#waiting;
      this.#waiting = emptyChange();
      for (const read of this.#readers) read(change);
    });
  }
}

function emptyChange(): MapChange {
  return { whole: false, put: new Map(), left: new Set() };
}
