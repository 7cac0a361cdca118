// The layer of jobs on the map of the jobs page.

import type { CityMap, Place, Points } from "../../shared/map.ts";
import type { Job } from "../../shared/schema.ts";
import { jobLayers } from "../live/job_layers.ts";

/** How near to a job counts as on it, in pixels. */
const TOUCH_PX = 9;

export class JobsLayer {
  readonly #points: Points;
  #places = new Map<string, Place>();

  /** `open` is called with the id of a job that is clicked. */
  constructor(private readonly city: CityMap, open: (id: string) => void) {
    this.#points = city.points("jobs", jobLayers);
    city.map.on("click", ({ point }) => {
      const found = this.#at(point);
      if (found) open(found);
    });
    city.map.on("mousemove", ({ point }) => {
      city.map.getCanvas().style.cursor = this.#at(point) ? "pointer" : "";
    });
  }

  /** Show these jobs only. */
  show(jobs: Job[], present?: string): void {
    const places = new Map(jobs.map(({ id, lon, lat }): [string, Place] => [id, [lon, lat]]));
    for (const id of this.#places.keys()) if (!places.has(id)) this.#points.remove(id);
    for (const { id, lon, lat, phase } of jobs) this.#points.set(id, [lon, lat], { phase, chosen: id === present });
    this.#places = places;
  }

  /** Move the map to all jobs. */
  fit(): void {
    this.city.fit([...this.#places.values()], { animate: false });
  }

  #at({ x, y }: { x: number; y: number }): string | undefined {
    if (!this.city.map.getLayer("jobs")) return undefined;
    const box: [[number, number], [number, number]] = [[x - TOUCH_PX, y - TOUCH_PX], [x + TOUCH_PX, y + TOUCH_PX]];
    return this.city.map.queryRenderedFeatures(box, { layers: ["jobs"] })[0]?.properties.id;
  }
}
