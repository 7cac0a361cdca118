// The cells of demand on a map. A darker cell has more demand.

import { type CityMap, colorOf, type Layer, type Points } from "../../shared/map.ts";
import type { DemandItem } from "../../shared/schema.ts";
import { expectedAt } from "./page.tsx";

const MIN_EXPECTED = 0.1;
const TILT_DEGREES = 50;
/** The height of the cell with the most demand. */
const HIGHEST_M = 1500;

export class DemandMap {
  readonly #cells: Points;
  #fitted = false;
  #raised = false;

  constructor(private readonly city: CityMap, choose: (area: string) => void) {
    this.#cells = city.points("demand", cellLayers);
    city.map.on("click", "demand", (event) => choose(String(event.features?.[0]?.properties.area ?? "")));
    city.map.on("style.load", () => this.#applyHeight());
  }

  /** Show the cells as columns that are seen from the side, or flat. */
  raise(raised: boolean): void {
    this.#raised = raised;
    this.#applyHeight();
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    this.city.map.easeTo({ pitch: raised ? TILT_DEGREES : 0, duration: still ? 0 : 500 });
  }

  #applyHeight(): void {
    if (!this.city.map.getLayer("demand-columns")) return;
    this.city.map.setLayoutProperty("demand-columns", "visibility", this.#raised ? "visible" : "none");
  }

  /** Show how many requests are expected in each cell in an hour. */
  show(items: DemandItem[], h: number): void {
    const most = Math.max(...items.map((item) => expectedAt(item, h)));
    // Before anything was learned, the scores say where jobs wait now.
    const shareOf = (item: DemandItem) => most > MIN_EXPECTED ? expectedAt(item, h) / most : item.score / 100;
    this.#cells.clear();
    for (const item of items) {
      if (item.polygon) {
        this.#cells.set(item.area, item.polygon as never, { area: item.area, share: shareOf(item) });
      }
    }
    if (this.#fitted || !items.length) return;
    this.#fitted = true;
    const corners = items.flatMap((item) =>
      ((item.polygon as { coordinates?: [number, number][][] })?.coordinates?.[0]) ?? []
    );
    this.city.fit(corners, { animate: false, maxZoom: 13 });
  }
}

function cellLayers(): Layer[] {
  return [
    {
      id: "demand",
      type: "fill",
      paint: {
        "fill-color": colorOf("--brand"),
        "fill-opacity": ["interpolate", ["linear"], ["get", "share"], 0, 0.05, 1, 0.7],
      },
    },
    {
      id: "demand-edge",
      type: "line",
      paint: { "line-color": colorOf("--brand"), "line-width": 1, "line-opacity": 0.5 },
    },
    {
      id: "demand-columns",
      type: "fill-extrusion",
      layout: { visibility: "none" },
      paint: {
        "fill-extrusion-color": colorOf("--brand"),
        "fill-extrusion-height": ["*", ["get", "share"], HIGHEST_M],
        "fill-extrusion-opacity": 0.75,
      },
    },
  ] as unknown as Layer[];
}
