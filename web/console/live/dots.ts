// The people on the live map, as dots above it. A dot that moves is drawn without the map: MapLibre would draw all streets
// and names again in each frame, which takes most of a core without a GPU. (Rejected: a layer of MapLibre, for this reason.)

import { effect } from "@preact/signals";
import { colorOf, type MapLibre } from "../../shared/map.ts";
import type { MapPerson } from "../../shared/schema.ts";
import { isDark } from "../../shared/theme.ts";
import { DotCanvas, type DotKind } from "./dot_canvas.ts";

const GLIDE_MS = 600;
/** At most 30 frames a second: more are not seen in dots that move by some pixels. */
const FRAME_MS = 30;
/** How near to a dot counts as on it, in pixels. */
const TOUCH_PX = 9;
/** Up to this number of dots, each has the full size. */
const FEW = 1500;
const NAMES_ZOOM = 14;
const MAX_NAMES = 300;
/** A position of this age in seconds is drawn faintly. */
const OLD_S = 120;
const TILE_PX = 512;
/** A dot whose middle is this far outside the map is not drawn. */
const EDGE_PX = 10;

/** A dot that moves from one place to another, in Web Mercator from 0 to 1. `began` is in ms of `performance.now()`. */
interface Dot {
  person: MapPerson;
  kind: DotKind;
  from: [number, number];
  to: [number, number];
  began: number;
}

export class Dots {
  readonly #canvas = new DotCanvas();
  readonly #dots = new Map<string, Dot>();
  readonly #still = matchMedia("(prefers-reduced-motion: reduce)").matches;
  readonly #stopTheme: () => void;
  #frame = 0;
  #drawnAt = 0;
  #glidesUntil = 0;
  #chosen = "";
  #only = { state: null as string | null, dots: true, names: true };
  /** How often the dots were drawn, for measurements. */
  draws = 0;

  constructor(private readonly map: MapLibre) {
    map.getCanvasContainer().after(this.#canvas.element);
    map.on("move", this.#draw);
    map.on("resize", this.#draw);
    this.#stopTheme = effect(() => {
      void isDark.value;
      this.#canvas.readColors();
      this.#request();
    });
  }

  end(): void {
    this.#stopTheme();
    cancelAnimationFrame(this.#frame);
    this.map.off("move", this.#draw);
    this.map.off("resize", this.#draw);
    this.#canvas.element.remove();
  }

  /** Add a person, or let their dot glide to where they are now. */
  set(person: MapPerson): void {
    const now = performance.now();
    const to = mercator(person.lon, person.lat);
    const known = this.#dots.get(person.id);
    const glides = known && !this.#still && !document.hidden;
    const kind: DotKind = `${person.state}${person.age_s > OLD_S ? "-old" : ""}`;
    this.#dots.set(person.id, { person, kind, from: glides ? placeOf(known, now) : to, to, began: now });
    if (glides) this.#glidesUntil = now + GLIDE_MS;
    this.#request();
  }

  remove(id: string): void {
    if (this.#dots.delete(id)) this.#request();
  }

  clear(): void {
    this.#dots.clear();
    this.#request();
  }

  /** Set what is shown: the dots of one `state` only (null: of all), whether there are `dots`, and whether they have
   * `names`. */
  show(only: { state: string | null; dots: boolean; names: boolean }): void {
    this.#only = only;
    this.#request();
  }

  choose(id: string): void {
    this.#chosen = id;
    this.#request();
  }

  /** Return the id of the person whose dot is nearest to a point of the map, in its pixels; undefined if none is there. */
  at({ x, y }: { x: number; y: number }): string | undefined {
    let [nearest, found] = [TOUCH_PX, undefined as string | undefined];
    for (const [id, place] of this.places()) {
      const away = Math.hypot(place[0] - x, place[1] - y);
      if (away <= nearest) [nearest, found] = [away, id];
    }
    return found;
  }

  /** Return the id and the pixel of each person whose dot is shown and in view. */
  places(): [id: string, place: [number, number]][] {
    const found: [string, [number, number]][] = [];
    this.#eachInView(({ person }, x, y) => found.push([person.id, [x, y]]));
    return found;
  }

  /** Call `work` with each dot that is shown and in view, and its pixel. */
  #eachInView(work: (dot: Dot, x: number, y: number) => void): void {
    if (!this.#only.dots) return;
    const now = performance.now(), center = this.map.getCenter(), pixel = this.map.project(center);
    const size = TILE_PX * 2 ** this.map.getZoom();
    const [middleX, middleY] = mercator(center.lng, center.lat);
    const [left, top] = [pixel.x - middleX * size, pixel.y - middleY * size];
    const { clientWidth, clientHeight } = this.map.getContainer();
    for (const dot of this.#dots.values()) {
      if (this.#only.state !== null && dot.person.state !== this.#only.state) continue;
      const share = Math.min(1, (now - dot.began) / GLIDE_MS);
      const x = left + (dot.from[0] + (dot.to[0] - dot.from[0]) * share) * size;
      const y = top + (dot.from[1] + (dot.to[1] - dot.from[1]) * share) * size;
      if (x > -EDGE_PX && y > -EDGE_PX && x < clientWidth + EDGE_PX && y < clientHeight + EDGE_PX) work(dot, x, y);
    }
  }

  /** Draw in the next frame of the screen that is due. */
  #request(): void {
    this.#frame ||= requestAnimationFrame(this.#drawIfDue);
  }

  #drawIfDue = (now: number): void => {
    this.#frame = 0;
    if (now - this.#drawnAt < FRAME_MS) return this.#request();
    this.#draw();
    if (now < this.#glidesUntil) this.#request();
  };

  /** Draw now. This is also called while the map moves, so that the dots move with the map. */
  #draw = (): void => {
    this.#drawnAt = document.timeline.currentTime as number;
    this.draws += 1;
    const { clientWidth, clientHeight } = this.map.getContainer();
    const radius = radiusOf(this.map.getZoom(), this.#dots.size);
    const named: [name: string, x: number, y: number][] = [];
    const hasNames = this.#only.names && this.map.getZoom() >= NAMES_ZOOM;
    let chosen: [number, number] | undefined;
    this.#canvas.begin(clientWidth, clientHeight, radius);
    this.#eachInView((dot, x, y) => {
      this.#canvas.add(dot.kind, x, y);
      if (dot.person.id === this.#chosen) chosen = [x, y];
      if (hasNames && named.length < MAX_NAMES) named.push([dot.person.name, x, y]);
    });
    const pen = this.#canvas.show();
    if (chosen) drawRing(pen, ...chosen, radius + 6);
    if (named.length) drawNames(pen, named, radius + 4);
  };
}

function drawRing(pen: CanvasRenderingContext2D, x: number, y: number, radius: number): void {
  pen.beginPath();
  pen.arc(x, y, radius, 0, 2 * Math.PI);
  [pen.strokeStyle, pen.lineWidth] = [colorOf("--brand"), 3];
  pen.stroke();
}

function drawNames(pen: CanvasRenderingContext2D, named: [string, number, number][], below: number): void {
  pen.font = `11px ${getComputedStyle(document.body).fontFamily}`;
  [pen.textAlign, pen.textBaseline, pen.lineJoin, pen.lineWidth] = ["center", "top", "round", 3];
  [pen.strokeStyle, pen.fillStyle] = [colorOf("--card"), colorOf("--text")];
  for (const [name, x, y] of named) {
    pen.strokeText(name, x, y + below);
    pen.fillText(name, x, y + below);
  }
}

/** Return the radius of a dot in pixels: 3.5 at zoom 10 and below, 7.5 at zoom 15 and above. Many dots are smaller, down to
 * 2 pixels: they would hide each other and the map. */
function radiusOf(zoom: number, count: number): number {
  const radius = 3.5 + 4 * Math.min(1, Math.max(0, (zoom - 10) / 5));
  return Math.max(2, radius * Math.min(1, Math.sqrt(FEW / count)));
}

/** Return a place in Web Mercator: x and y from 0 to 1, y from north to south. */
function mercator(lon: number, lat: number): [number, number] {
  const y = Math.log(Math.tan(Math.PI / 4 + (lat * Math.PI) / 360));
  return [(lon + 180) / 360, (1 - y / Math.PI) / 2];
}

function placeOf({ from, to, began }: Dot, now: number): [number, number] {
  const share = Math.min(1, (now - began) / GLIDE_MS);
  return share === 1 ? to : [from[0] + (to[0] - from[0]) * share, from[1] + (to[1] - from[1]) * share];
}
