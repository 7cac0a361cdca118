// The map: MapLibre on our own GeoJSON, in the colours of the theme. It is loaded when a page first shows a map
// (`ui/map_view.tsx`), because it is larger than all the rest.
//
// The background is the operator's (`map_style`, `map_tiles`), or the streets of a demo's town, or, in the console, the
// places of past jobs as faint dots, which show the shape of the city.
// Layers of a page are sources of points and lines whose data change; changes are applied once for each frame.

import * as maplibregl from "maplibre-gl";
import type * as GeoJSON from "geojson";
import "maplibre-gl/dist/maplibre-gl.css";
import type { About } from "./schema.ts";
import { colorOf, isDark } from "./theme.ts";
import { effect } from "@preact/signals";
import { callPublic } from "./api.ts";
import { assetUrl } from "./assets.ts";
import "./map.css";

maplibregl.setWorkerUrl(assetUrl("map-worker"));

export type Place = [lon: number, lat: number];
export type { Map as MapLibre } from "maplibre-gl";

/** The colours of the background, by theme. CSS does not reach inside a map, so it has its own list. */
const COLORS = {
  light: {
    ground: "#eceff2",
    park: "#d3e6d4",
    water: "#b9d7ea",
    street: "#ffffff",
    main: "#fffdf6",
    text: "#5d6874",
    halo: "#eceff2",
    edge: "#d5dbe1",
  },
  dark: {
    ground: "#10171d",
    park: "#16261f",
    water: "#10293a",
    street: "#25313a",
    main: "#2e3c47",
    text: "#8d9ba8",
    halo: "#10171d",
    edge: "#1b252d",
  },
};

/** Return the style of the background of our own, for a town as GeoJSON (null: none). */
function ownStyle(town: GeoJSON.FeatureCollection | null, dark: boolean): maplibregl.StyleSpecification {
  const colors = COLORS[dark ? "dark" : "light"];
  const line = (id: string, kinds: string[], color: string, width: number): maplibregl.LineLayerSpecification => ({
    id,
    type: "line",
    source: "town",
    filter: ["in", ["get", "kind"], ["literal", kinds]],
    layout: { "line-cap": "round", "line-join": "round" },
    paint: {
      "line-color": color,
      "line-width": ["interpolate", ["exponential", 1.6], ["zoom"], 11, width / 6, 17, width * 3],
    },
  });
  return {
    version: 8,
    sources: { town: { type: "geojson", data: town ?? { type: "FeatureCollection", features: [] } } },
    layers: [
      { id: "ground", type: "background", paint: { "background-color": colors.ground } },
      {
        id: "parks",
        type: "fill",
        source: "town",
        filter: ["all", ["==", ["get", "kind"], "park"], ["==", ["geometry-type"], "Polygon"]],
        paint: { "fill-color": colors.park },
      },
      line("river", ["river"], colors.water, 14),
      line("street-edges", ["street", "road", "ring_road", "bridge"], colors.edge, 6),
      line("streets", ["street", "road"], colors.street, 4),
      line("ring-roads", ["ring_road", "bridge"], colors.main, 6),
      {
        id: "street-names",
        type: "symbol",
        source: "town",
        minzoom: 14,
        filter: ["in", ["get", "kind"], ["literal", ["street", "road", "ring_road", "river"]]],
        layout: { "symbol-placement": "line", "text-field": ["get", "name"], "text-size": 11, "symbol-spacing": 400 },
        paint: { "text-color": colors.text, "text-halo-color": colors.halo, "text-halo-width": 1.5 },
      },
      {
        id: "district-names",
        type: "symbol",
        source: "town",
        minzoom: 11,
        maxzoom: 15,
        filter: ["==", ["get", "kind"], "district"],
        layout: { "text-field": ["get", "name"], "text-size": 13, "text-letter-spacing": 0.08 },
        paint: { "text-color": colors.text, "text-halo-color": colors.halo, "text-halo-width": 2 },
      },
    ],
  };
}

function tileStyle(tiles: string, attribution: string): maplibregl.StyleSpecification {
  return {
    version: 8,
    sources: { tiles: { type: "raster", tiles: [tiles], tileSize: 256, attribution } },
    layers: [{ id: "tiles", type: "raster", source: "tiles" }],
  };
}

/** The features of one source of a map. Changes are collected and applied with the next frame. */
export class Points {
  readonly #features = new Map<string, GeoJSON.Feature>();
  readonly #changed = new Set<string>();
  #requested = false;
  #whole = true;

  constructor(private readonly map: maplibregl.Map, readonly name: string) {}

  /** Add or replace the feature `id`. */
  set(id: string, geometry: Place | GeoJSON.Geometry, properties: Record<string, unknown> = {}): void {
    const shape: GeoJSON.Geometry = Array.isArray(geometry) ? { type: "Point", coordinates: geometry } : geometry;
    this.#features.set(id, { type: "Feature", id, geometry: shape, properties: { ...properties, id } });
    this.#note(id);
  }

  remove(id: string): void {
    if (this.#features.delete(id)) this.#note(id);
  }

  clear(): void {
    this.#features.clear();
    this.#whole = true;
    this.#note("");
  }

  get size(): number {
    return this.#features.size;
  }

  #note(id: string): void {
    if (id) this.#changed.add(id);
    if (this.#requested) return;
    this.#requested = true;
    requestAnimationFrame(() => {
      this.#requested = false;
      this.apply();
    });
  }

  /** Apply the collected changes now. `whole`: write all features, as after the style of the map has changed. */
  apply(whole = false): void {
    const source = this.map.getSource(this.name) as maplibregl.GeoJSONSource | undefined;
    if (!source) return;
    if (whole || this.#whole) {
      source.setData({ type: "FeatureCollection", features: [...this.#features.values()] });
      this.#whole = false;
    } else {
      const [add, remove] = [[] as GeoJSON.Feature[], [] as string[]];
      for (const id of this.#changed) {
        const feature = this.#features.get(id);
        if (feature) add.push(feature);
        else remove.push(id);
      }
      source.updateData({ add, remove });
    }
    this.#changed.clear();
  }
}

/** A layer on a source of points, without its `source`. */
export type Layer =
  | Omit<maplibregl.CircleLayerSpecification, "source">
  | Omit<maplibregl.LineLayerSpecification, "source">
  | Omit<maplibregl.FillLayerSpecification, "source">
  | Omit<maplibregl.SymbolLayerSpecification, "source">
  | Omit<maplibregl.FillExtrusionLayerSpecification, "source">
  | Omit<maplibregl.HeatmapLayerSpecification, "source">;

/** One map of a page. */
export class CityMap {
  readonly map: maplibregl.Map;
  readonly #points = new Map<string, { points: Points; layers: () => Layer[] }>();
  readonly #stopTheme: () => void;
  /** Whether the present style is there, so that layers can be added. (`isStyleLoaded` is false while tiles load.) */
  #hasStyle = false;

  constructor(
    container: HTMLElement,
    private readonly meta: About,
    private readonly town: GeoJSON.FeatureCollection | null,
    view: { center: Place; zoom: number },
    options: Partial<maplibregl.MapOptions> = {},
  ) {
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches || navigator.webdriver;
    this.map = new maplibregl.Map({
      container,
      style: this.#style(isDark.peek()),
      center: view.center,
      zoom: view.zoom,
      minZoom: 2,
      maxZoom: 19,
      attributionControl: meta.map.attribution ? { customAttribution: meta.map.attribution, compact: true } : false,
      fadeDuration: still ? 0 : 200,
      dragRotate: false,
      pitchWithRotate: false,
      touchPitch: false,
      ...options,
    });
    Object.assign(container, { map: this.map }); // for tests: only the map knows what is drawn
    this.map.touchZoomRotate.disableRotation();
    this.map.keyboard.disableRotation();
    this.map.on("style.load", () => {
      this.#hasStyle = true;
      this.#restore();
    });
    let first = true;
    this.#stopTheme = effect(() => {
      const dark = isDark.value;
      if (!first) {
        this.#hasStyle = false;
        this.map.setStyle(this.#style(dark), { diff: false });
      }
      first = false;
    });
  }

  /** Return the source `name` with its layers, which are drawn in the order in which sources were added. `layers` is
   * called again when the theme changes, so it takes colours from `colorOf`. */
  points(name: string, layers: () => Layer[]): Points {
    const points = new Points(this.map, name);
    this.#points.set(name, { points, layers });
    if (this.#hasStyle) this.#add(name);
    return points;
  }

  /** Draw the places of past jobs where there is no other background. Call this before other layers are added. */
  drawPast(read: () => Promise<Place[]>): void {
    if (this.town || this.meta.map.style || this.meta.map.tiles) return;
    const past = this.points("past", pastLayers);
    const show = (places: Place[]) => places.forEach((place, n) => past.set(`past ${n}`, place));
    read().then(show).catch(() => {}); // the map works without a background
  }

  /** Call `work` when the style is loaded, at once if it is. */
  whenReady(work: () => void): void {
    if (this.#hasStyle) work();
    else this.map.once("style.load", work);
  }

  /** Show all these places. */
  fit(places: Place[], options: maplibregl.FitBoundsOptions = {}): void {
    if (!places.length) return;
    const bounds = new maplibregl.LngLatBounds();
    for (const place of places) bounds.extend(place);
    this.map.fitBounds(bounds, { padding: 48, maxZoom: 15, ...options });
  }

  remove(): void {
    this.#stopTheme();
    this.map.remove();
  }

  #style(dark: boolean): maplibregl.StyleSpecification | string {
    const { style, tiles, attribution } = this.meta.map;
    if (style) return style;
    return tiles ? tileStyle(tiles, attribution ?? "") : ownStyle(this.town, dark);
  }

  #restore(): void {
    for (const name of this.#points.keys()) this.#add(name);
  }

  #add(name: string): void {
    const { points, layers } = this.#points.get(name)!;
    if (!this.map.getSource(name)) {
      this.map.addSource(name, { type: "geojson", promoteId: "id", data: { type: "FeatureCollection", features: [] } });
      for (const layer of layers()) {
        this.map.addLayer({ ...layer, source: name } as maplibregl.AddLayerObject);
      }
    }
    points.apply(true);
  }
}

function pastLayers(): Layer[] {
  return [{
    id: "past",
    type: "circle",
    paint: {
      "circle-color": colorOf("--soft"),
      "circle-opacity": 0.5,
      "circle-radius": ["interpolate", ["exponential", 1.6], ["zoom"], 9, 1, 13, 2, 17, 6],
    },
  }];
}

let townRead: Promise<GeoJSON.FeatureCollection | null> | undefined;

/** Return the streets of the demo's town; null on another server. */
export function readTown(meta: About): Promise<GeoJSON.FeatureCollection | null> {
  townRead ??= meta.demo
    ? callPublic("GET", "/v1/demo/town").then((town) => town as GeoJSON.FeatureCollection, () => null)
    : Promise.resolve(null);
  return townRead;
}

/** Return the box around a town, or null. */
export function boxOf(town: GeoJSON.FeatureCollection | null): [Place, Place] | null {
  if (!town) return null;
  const bounds = new maplibregl.LngLatBounds();
  const extend = (part: unknown): void => {
    if (!Array.isArray(part)) return;
    if (typeof part[0] === "number") bounds.extend(part as Place);
    else part.forEach(extend);
  };
  for (const feature of town.features) extend((feature.geometry as GeoJSON.Polygon).coordinates);
  return bounds.isEmpty() ? null : bounds.toArray() as [Place, Place];
}

export { colorOf, maplibregl };
