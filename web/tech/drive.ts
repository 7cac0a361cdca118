// In a demo: drive to a place along the streets of the synthetic town, as a phone in a car would report it.

import { signal } from "@preact/signals";
import { callPublic } from "../shared/api.ts";
import { metresBetween } from "../phone/geo.ts";
import type { OwnPlace } from "./place.ts";

interface RoutePoint {
  lat: number;
  lon: number;
  /** Seconds after the start at which the drive reaches the point. */
  at_s: number;
}
type Place = { lat: number; lon: number };

const STEP_MS = 1_000;
/** How many times faster than a simulated car this drives, because the visitor waits for the arrival. */
const PACE = 2;

export class Drive {
  /** Metres that are left; null while nobody drives. */
  readonly left = signal<number | null>(null);
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor(private readonly place: OwnPlace) {}

  /** Drive from where the technician is to `to`. Does nothing if nobody knows where they are. */
  async start(to: Place): Promise<void> {
    const here = this.place.here.peek();
    if (!here) return;
    this.stop();
    this.left.value = metresBetween([here.lat, here.lon], [to.lat, to.lon]);
    const points = await readRoute(here, to);
    const began = performance.now();
    this.#timer = setInterval(() => {
      const seconds = (PACE * (performance.now() - began)) / 1000;
      const next = points.findIndex((point) => point.at_s > seconds);
      const at = next < 0 ? points.at(-1)! : between(points[next - 1] ?? points[0], points[next], seconds);
      const ahead = next < 0 ? undefined : points[next];
      this.place.put(at.lat, at.lon, "drive", ahead && bearing(at, ahead));
      const rest = [at, ...(next < 0 ? [] : points.slice(next))];
      this.left.value = rest.slice(1).reduce(
        (sum, point, i) => sum + metresBetween([rest[i].lat, rest[i].lon], [point.lat, point.lon]),
        0,
      );
      if (next < 0) this.stop();
    }, STEP_MS);
  }

  stop(): void {
    clearInterval(this.#timer);
    this.left.value = null;
  }
}

/** The fastest way by the demo's own streets; the straight line where it knows none. */
async function readRoute(from: Place, to: Place): Promise<RoutePoint[]> {
  const query = `from=${from.lat},${from.lon}&to=${to.lat},${to.lon}`;
  const route = await callPublic("GET", `/demo/route?${query}`).catch(() => null) as { points?: RoutePoint[] } | null;
  if (route?.points && route.points.length > 1) return route.points;
  const seconds = metresBetween([from.lat, from.lon], [to.lat, to.lon]) / 10;
  return [{ lat: from.lat, lon: from.lon, at_s: 0 }, { lat: to.lat, lon: to.lon, at_s: Math.max(1, seconds) }];
}

function between(one: RoutePoint, other: RoutePoint, seconds: number): Place {
  const part = (seconds - one.at_s) / Math.max(0.001, other.at_s - one.at_s);
  return { lat: one.lat + part * (other.lat - one.lat), lon: one.lon + part * (other.lon - one.lon) };
}

function bearing(one: Place, other: Place): number {
  const east = (other.lon - one.lon) * Math.cos((one.lat * Math.PI) / 180);
  return ((Math.atan2(east, other.lat - one.lat) * 180) / Math.PI + 360) % 360;
}
