// In a demo: drive to a place along the streets of the synthetic town, as a phone in a car would report it.

import { signal } from "@preact/signals";
import { callPublic } from "../shared/api.ts";
import { metresBetween } from "../phone/geo.ts";
import type * as GeoJSON from "geojson";
import type { OwnPlace } from "./place.ts";

type Point = [lat: number, lon: number];
type Town = GeoJSON.FeatureCollection;

const SPEED_M_S = 14;
const STEP_MS = 1_000;
const key = ([lat, lon]: Point) => `${lat.toFixed(5)} ${lon.toFixed(5)}`;

/** The crossings of a town and the roads between them. */
class Streets {
  readonly #places = new Map<string, Point>();
  readonly #roads = new Map<string, Set<string>>();

  constructor(town: Town | null) {
    for (const { geometry, properties } of town?.features ?? []) {
      if (geometry.type !== "LineString" || properties?.kind === "river") continue;
      const points = geometry.coordinates.map(([lon, lat]) => [lat, lon] as Point);
      for (let i = 1; i < points.length; i++) this.#join(points[i - 1], points[i]);
    }
  }

  #join(one: Point, other: Point): void {
    for (const [from, to] of [[one, other], [other, one]]) {
      this.#places.set(key(from), from);
      const roads = this.#roads.get(key(from)) ?? new Set();
      this.#roads.set(key(from), roads.add(key(to)));
    }
  }

  #nearest(place: Point): string {
    let [best, least] = ["", Infinity];
    for (const [name, point] of this.#places) {
      const far = metresBetween(place, point);
      if (far < least) [best, least] = [name, far];
    }
    return best;
  }

  /** The shortest way by Dijkstra's algorithm; the straight line where the streets do not lead there. */
  way(from: Point, to: Point): Point[] {
    const [start, end] = [this.#nearest(from), this.#nearest(to)];
    const [cost, before] = [new Map([[start, 0]]), new Map<string, string>()];
    const open = new Set([start]);
    while (start && open.size) {
      const at = [...open].reduce((one, other) => (cost.get(one)! <= cost.get(other)! ? one : other));
      if (at === end) break;
      open.delete(at);
      for (const next of this.#roads.get(at) ?? []) {
        const so_far = cost.get(at)! + metresBetween(this.#places.get(at)!, this.#places.get(next)!);
        if (so_far >= (cost.get(next) ?? Infinity)) continue;
        cost.set(next, so_far);
        before.set(next, at);
        open.add(next);
      }
    }
    const way: Point[] = [to];
    for (let at: string | undefined = end; at && cost.has(end); at = before.get(at)) way.unshift(this.#places.get(at)!);
    return [from, ...way];
  }
}

export class Drive {
  /** Metres that are left; null while nobody drives. */
  readonly left = signal<number | null>(null);
  #timer: ReturnType<typeof setInterval> | undefined;
  #streets: Streets | null = null;

  constructor(private readonly place: OwnPlace) {}

  /** Drive from where the technician is to `to`. */
  async start(to: Point): Promise<void> {
    this.#streets ??= new Streets(await callPublic("GET", "/v1/demo/town").catch(() => null) as Town | null);
    const here = this.place.here.peek();
    if (!here) return;
    this.stop();
    const way = this.#streets.way([here.lat, here.lon], to);
    let [at, gone] = [way[0], 0];
    this.#timer = setInterval(() => {
      let step = (SPEED_M_S * STEP_MS) / 1000;
      for (let far; gone + 1 < way.length && (far = metresBetween(at, way[gone + 1])) <= step;) {
        step -= far;
        at = way[++gone];
      }
      const next = way[gone + 1];
      if (next) at = between(at, next, step / metresBetween(at, next));
      this.place.put(at[0], at[1], "drive", next && bearing(at, next), next ? SPEED_M_S : 0);
      this.left.value = way.slice(gone + 1).reduce(
        (sum, point, i, rest) => sum + metresBetween(i ? rest[i - 1] : at, point),
        0,
      );
      if (!next) this.stop();
    }, STEP_MS);
    this.left.value = 1;
  }

  stop(): void {
    clearInterval(this.#timer);
    this.left.value = null;
  }
}

const between = ([lat, lon]: Point, [otherLat, otherLon]: Point, part: number): Point => [
  lat + part * (otherLat - lat),
  lon + part * (otherLon - lon),
];

function bearing([lat, lon]: Point, [otherLat, otherLon]: Point): number {
  const east = (otherLon - lon) * Math.cos((lat * Math.PI) / 180);
  return ((Math.atan2(east, otherLat - lat) * 180) / Math.PI + 360) % 360;
}
