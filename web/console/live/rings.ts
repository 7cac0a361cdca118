// The search of a job as a ring that grows to the radius of its present wave.

import type { Place, Points } from "../../shared/map.ts";

const GROW_MS = 1200;
const CORNERS = 48;
const METRES_A_DEGREE = 111_320;
const MAX_RINGS = 40;

interface Ring {
  center: Place;
  from: number;
  to: number;
  began: number;
}

/** Return a circle around a place as the corners of a polygon. */
export function circle([lon, lat]: Place, radius: number): Place[] {
  const [dLat, dLon] = [radius / METRES_A_DEGREE, radius / (METRES_A_DEGREE * Math.cos((lat * Math.PI) / 180))];
  return Array.from({ length: CORNERS + 1 }, (_, i) => {
    const angle = (2 * Math.PI * i) / CORNERS;
    return [lon + dLon * Math.cos(angle), lat + dLat * Math.sin(angle)] as Place;
  });
}

export class Rings {
  readonly #rings = new Map<string, Ring>();
  readonly #still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  #running = false;

  constructor(private readonly points: Points) {}

  /** Let the ring of a job grow to `radius` metres. */
  grow(job: string, center: Place, radius: number): void {
    const known = this.#rings.get(job);
    if (known?.to === radius || (!known && this.#rings.size >= MAX_RINGS)) return;
    const began = this.#still ? 0 : performance.now();
    this.#rings.set(job, { center, from: known?.to ?? 0, to: radius, began });
    this.#run();
  }

  /** Remove all rings except those of these jobs. */
  keepOnly(jobs: ReadonlySet<string>): void {
    for (const job of this.#rings.keys()) {
      if (jobs.has(job)) continue;
      this.#rings.delete(job);
      this.points.remove(job);
    }
  }

  #run(): void {
    if (this.#running) return;
    this.#running = true;
    const step = (now: number) => {
      let growing = false;
      for (const [job, ring] of this.#rings) growing = this.#draw(job, ring, now) || growing;
      this.#running = growing;
      if (growing) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  }

  /** Draw one ring, and return whether it still grows. */
  #draw(job: string, ring: Ring, now: number): boolean {
    if (ring.began < 0) return false;
    const share = Math.min(1, (now - ring.began) / GROW_MS);
    const radius = Math.max(1, ring.from + (ring.to - ring.from) * (1 - (1 - share) ** 3));
    this.points.set(job, { type: "Polygon", coordinates: [circle(ring.center, radius)] }, { radius });
    if (share === 1) ring.began = -1;
    return share < 1;
  }
}
