// The map of the live page: people, jobs, the rings of searches, and lines between a job and people.

import { type CityMap, colorOf, type Layer, type MapLibre, type Place, type Points } from "../../shared/map.ts";
import { meta } from "../../shared/meta.ts";
import type { Console } from "../data/console.ts";
import { type Box, isJob, isPerson, type MapChange, type MapThing } from "../data/map_feed.ts";
import { columnOf } from "../jobs/filters.ts";
import { Dots } from "./dots.ts";
import { jobLayers } from "./job_layers.ts";
import { Rings } from "./rings.ts";

export type LayerName = "people" | "jobs" | "waves" | "names";
const LAYERS: Record<LayerName, string[]> = {
  people: [], // dots.ts
  jobs: ["jobs-edge", "jobs"],
  waves: ["waves", "waves-edge"],
  names: [],
};
const VIEW_MARGIN = 0.35;
const LOOK_WAIT_MS = 250;
const WON_MS = 4000;
/** How near to a job counts as on it, in pixels. */
const TOUCH_PX = 9;

export class LiveMap {
  readonly map: MapLibre;
  readonly dots: Dots;
  readonly #jobs: Points;
  readonly #links: Points;
  readonly #clusters: Points;
  readonly #rings: Rings;
  readonly #ends: (() => void)[] = [];
  #looked: Box | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #chosen = "";
  #only = "";
  readonly #hidden = new Set<LayerName>();

  constructor(city: CityMap, private readonly console: Console) {
    this.map = city.map;
    this.dots = new Dots(city.map);
    Object.assign(city.map.getContainer(), { dots: this.dots }); // for tests
    const waves = city.points("waves", waveLayers);
    this.#links = city.points("links", linkLayers);
    this.#clusters = city.points("clusters", clusterLayers);
    this.#jobs = city.points("jobs", jobLayers);
    this.#rings = new Rings(waves);
    this.#ends.push(console.map.onChange((change) => this.#apply(change)));
    this.#ends.push(console.jobs.changes.subscribe(() => this.#showSearches()));
    this.#ends.push(console.live.onPush(({ type, data }) => {
      if (type === "job.accepted" || type === "job.assigned") this.#showWinner(data.job.id, data.technician?.id);
    }));
    this.map.on("moveend", () => this.#lookSoon());
    city.map.on("style.load", () => this.#applyView());
    if (!meta.value?.demo) this.#ends.push(console.jobs.loaded.subscribe((loaded) => loaded && this.#fit(city)));
    city.whenReady(() => {
      this.#applyView();
      this.#look();
    });
  }

  end(): void {
    clearTimeout(this.#timer);
    for (const end of this.#ends) end();
    this.dots.end();
  }

  /** Show or hide a layer. */
  setLayer(name: LayerName, shown: boolean): void {
    this.#hidden[shown ? "delete" : "add"](name);
    this.#applyView();
  }

  /** Show only the jobs of a column or the people of a state; "" shows all. */
  setFilter(only: string): void {
    this.#only = only;
    this.#applyView();
  }

  /** Apply the hidden layers and the filter to all layers, also to those of a new style. */
  #applyView(): void {
    const [kind, value] = this.#only.split(":");
    const isHidden = (name: LayerName) => this.#hidden.has(name);
    for (const [name, layers] of Object.entries(LAYERS) as [LayerName, string[]][]) {
      for (const layer of layers.filter((each) => this.map.getLayer(each))) {
        this.map.setLayoutProperty(layer, "visibility", isHidden(name) ? "none" : "visible");
      }
    }
    // A filter shows only the chosen kind, and hides the other kind completely.
    const filter = kind === "jobs" ? ["==", ["get", "column"], value] : kind ? ["boolean", false] : null;
    for (const layer of LAYERS.jobs.filter((each) => this.map.getLayer(each))) {
      this.map.setFilter(layer, filter as never);
    }
    const state = kind === "people" ? value : null;
    this.dots.show({ state, dots: kind !== "jobs" && !isHidden("people"), names: !isHidden("names") });
  }

  /** Mark one thing, and with `asked` draw lines from a job to those who were asked. */
  choose(id: string, asked: string[] = []): void {
    const before = this.#chosen;
    this.#chosen = id;
    for (const name of [before, id]) this.#redrawJob(name);
    this.dots.choose(id);
    this.#links.clear();
    const job = this.console.map.things.get(id);
    if (!job || !isJob(job)) return;
    for (const who of asked) this.#link(`asked ${who}`, job, who, "asked");
    if (job.technician) this.#link(`holder ${job.technician}`, job, job.technician, "holder");
  }

  /** Return the id of the person or job at a point of the screen: people lie above jobs. */
  thingAt({ x, y }: { x: number; y: number }, layer?: "people" | "jobs"): string | undefined {
    const person = layer === "jobs" ? undefined : this.dots.at({ x, y });
    if (person || layer === "people" || !this.map.getLayer("jobs")) return person;
    const box: [[number, number], [number, number]] = [[x - TOUCH_PX, y - TOUCH_PX], [x + TOUCH_PX, y + TOUCH_PX]];
    return this.map.queryRenderedFeatures(box, { layers: ["jobs"] })[0]?.properties.id;
  }

  /** Draw the line from a job to the mouse that drags it. The line is thick above a person who can get the job. */
  showDrag(job: string, place: Place, over?: string): void {
    const from = this.console.map.things.get(job);
    if (!from) return;
    this.#links.set("drag", { type: "LineString", coordinates: [[from.lon, from.lat], place] }, {
      kind: over ? "won" : "asked",
    });
  }

  hideDrag(): void {
    this.#links.remove("drag");
  }

  flyTo(id: string): void {
    const thing = this.console.map.things.get(id) ?? this.console.jobs.byId.get(id);
    if (thing) {
      this.map.easeTo({ center: [thing.lon, thing.lat], zoom: Math.max(this.map.getZoom(), 14), duration: 500 });
    }
  }

  /** If the server has no town of a demo, move the map to the area of the zone, or else to its present or past jobs. */
  #fit(city: CityMap): void {
    const zone = this.console.zones.peek().find(({ name }) => name === this.console.zone);
    const corners = ((zone?.polygon?.coordinates ?? []) as unknown[]).flat(Infinity) as number[];
    const places: Place[] = [];
    for (let i = 0; i + 1 < corners.length; i += 2) places.push([corners[i], corners[i + 1]]);
    if (!places.length) places.push(...this.console.jobs.all().map(({ lon, lat }): Place => [lon, lat]));
    const show = (found: Place[]) => city.fit(found, { animate: false, maxZoom: 12 });
    if (places.length || !this.console.isOps) show(places);
    else this.console.past().then((past) => show(mostOf(past))).catch(() => {}); // without places the first view stays
  }

  #apply(change: MapChange): void {
    if (change.whole) this.#clear();
    for (const [id, thing] of change.put) {
      if (isPerson(thing)) this.dots.set(thing);
      else if (isJob(thing)) this.#showJob(id, thing);
      else if (!("id" in thing)) {
        this.#clusters.set(id, [thing.lon, thing.lat], { people: thing.people, jobs: thing.jobs });
      }
    }
    for (const id of change.left) {
      this.dots.remove(id);
      for (const points of [this.#jobs, this.#clusters]) points.remove(id);
    }
    if (change.put.size + change.left.size) this.#showSearches();
  }

  #clear(): void {
    this.dots.clear();
    for (const points of [this.#jobs, this.#clusters]) points.clear();
  }

  #redrawJob(id: string): void {
    const thing: MapThing | undefined = this.console.map.things.get(id);
    if (thing) this.#showJob(id, thing);
  }

  #showJob(id: string, thing: MapThing): void {
    if (!isJob(thing)) return;
    const { phase, status, lon, lat } = thing;
    this.#jobs.set(id, [lon, lat], { phase, status, column: columnOf(thing), chosen: id === this.#chosen });
  }

  #showSearches(): void {
    const searching = new Set<string>();
    for (const [id, search] of this.console.jobs.searches) {
      const job = this.console.jobs.byId.get(id) ?? this.console.map.things.get(id);
      if (!job || search.radius_m === null) continue;
      searching.add(id);
      this.#rings.grow(id, [job.lon, job.lat], search.radius_m);
    }
    this.#rings.keepOnly(searching);
  }

  #link(name: string, job: Place2, who: string, kind: "asked" | "holder" | "won"): void {
    const person = this.console.map.things.get(who);
    if (!person) return;
    this.#links.set(name, { type: "LineString", coordinates: [[job.lon, job.lat], [person.lon, person.lat]] }, {
      kind,
    });
  }

  #showWinner(id: string, who?: string): void {
    const job = this.console.jobs.byId.get(id) ?? this.console.map.things.get(id);
    if (!job || !who) return;
    this.#link(`won ${id}`, job, who, "won");
    setTimeout(() => this.#links.remove(`won ${id}`), WON_MS);
  }

  #lookSoon(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#look(), LOOK_WAIT_MS);
  }

  /** Subscribe to what is in view and a little around it. Do nothing while the view stays inside that box. */
  #look(): void {
    const bounds = this.map.getBounds();
    const [w, s, e, n] = [bounds.getWest(), bounds.getSouth(), bounds.getEast(), bounds.getNorth()];
    const known = this.#looked;
    const isInside = known && w >= known[0] && s >= known[1] && e <= known[2] && n <= known[3];
    if (isInside && known[2] - known[0] < 4 * (e - w)) return;
    const [dx, dy] = [(e - w) * VIEW_MARGIN, (n - s) * VIEW_MARGIN];
    const [from, to] = [Math.max(-180, w - dx), Math.min(180, e + dx)];
    this.#looked = [from, Math.max(-85, s - dy), to, Math.min(85, n + dy)];
    this.console.map.look(this.#looked).catch(() => (this.#looked = null));
  }
}

interface Place2 {
  lon: number;
  lat: number;
}

/** Return the corners of the box that has nine tenths of the places in each direction: a few jobs may be far away. */
function mostOf(places: Place[]): Place[] {
  if (!places.length) return [];
  const at = (axis: 0 | 1, share: number) => {
    const sorted = places.map((place) => place[axis]).sort((a, b) => a - b);
    return sorted[Math.round(share * (sorted.length - 1))];
  };
  return [[at(0, 0.05), at(1, 0.05)], [at(0, 0.95), at(1, 0.95)]];
}

function waveLayers(): Layer[] {
  const color = colorOf("--open");
  return [
    {
      id: "waves",
      type: "fill",
      // A wide ring has no fill, because it would colour the whole map.
      paint: { "fill-color": color, "fill-opacity": ["case", [">", ["get", "radius"], 1200], 0, 0.08] },
    },
    { id: "waves-edge", type: "line", paint: { "line-color": color, "line-width": 1.5, "line-opacity": 0.75 } },
  ] as unknown as Layer[];
}

function linkLayers(): Layer[] {
  const won = ["match", ["get", "kind"], "asked", 0, 1];
  return [{
    id: "links",
    type: "line",
    layout: { "line-cap": "round" },
    paint: {
      "line-color": ["match", ["get", "kind"], "asked", colorOf("--open"), colorOf("--brand")],
      "line-width": ["case", ["==", won, 1], 4, 1.5],
      "line-opacity": ["case", ["==", won, 1], 0.9, 0.5],
    },
  } as unknown as Layer];
}

function clusterLayers(): Layer[] {
  const count = ["+", ["get", "people"], ["get", "jobs"]];
  return [{
    id: "clusters",
    type: "circle",
    paint: {
      "circle-radius": ["interpolate", ["linear"], count, 1, 5, 100, 16, 2000, 34],
      "circle-color": colorOf("--assigned"),
      "circle-opacity": 0.35,
    },
  } as unknown as Layer];
}
