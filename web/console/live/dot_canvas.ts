// A canvas for thousands of dots. Each dot is copied, pixel by pixel, from a small picture of its kind into the picture of
// the whole canvas. Without a GPU this takes a tenth of the time of WebGL or of `drawImage`, which need some microseconds
// for each dot.

import { colorOf } from "../../shared/map.ts";
import type { MapPerson } from "../../shared/schema.ts";

/** The state by form and by colour: free is filled, busy has a hole, offline is a ring. An old position is faint. */
export type DotKind = `${MapPerson["state"]}${"" | "-old"}`;

const COLORS: Record<MapPerson["state"], string> = { free: "--done", busy: "--active", offline: "--closed" };
const HOLES: Record<MapPerson["state"], number> = { free: 0, busy: 0.35, offline: 0.6 };
const EDGE_PX = 1.5;
const FAINT = 0.45;
const OPAQUE = 0xff000000;

/** The picture of one kind of dot: `size` by `size` pixels, each as ABGR. */
interface Stamp {
  size: number;
  pixels: Uint32Array;
}

export class DotCanvas {
  readonly element = document.createElement("canvas");
  readonly #pen = this.element.getContext("2d")!;
  readonly #stamps = new Map<DotKind, Stamp>();
  #picture = new ImageData(1, 1);
  #pixels = new Uint32Array(this.#picture.data.buffer);
  /** Width and height in pixels, and pixels per CSS pixel: the browser's own properties are slow to read for each dot. */
  #width = 1;
  #height = 1;
  #ratio = 1;
  #radius = 0;

  constructor() {
    this.element.className = "map-dots";
    this.element.ariaHidden = "true";
  }

  /** Read the colours of the theme again. */
  readColors(): void {
    this.#stamps.clear();
  }

  /** Begin an empty picture of `width` by `height` CSS pixels, for dots of a radius. */
  begin(width: number, height: number, radius: number): void {
    this.#ratio = devicePixelRatio;
    const [across, down] = [width, height].map((each) => Math.max(1, Math.round(each * this.#ratio)));
    if (this.#width !== across || this.#height !== down) {
      [this.#width, this.#height] = [this.element.width, this.element.height] = [across, down];
      this.#picture = new ImageData(across, down);
      this.#pixels = new Uint32Array(this.#picture.data.buffer);
      this.#stamps.clear();
    }
    if (radius !== this.#radius) this.#stamps.clear();
    this.#radius = radius;
    this.#pixels.fill(0);
  }

  /** Add a dot whose middle is at a place in CSS pixels. */
  add(kind: DotKind, x: number, y: number): void {
    const { size, pixels } = this.#stampOf(kind);
    const width = this.#width, out = this.#pixels;
    const left = Math.round(x * this.#ratio - size / 2), top = Math.round(y * this.#ratio - size / 2);
    const first = Math.max(0, -left), end = Math.min(size, width - left);
    for (let row = Math.max(0, -top), last = Math.min(size, this.#height - top); row < last; row++) {
      for (
        let from = row * size + first, to = (top + row) * width + left + first;
        from < row * size + end;
        from++, to++
      ) {
        const pixel = pixels[from];
        // A pixel of an edge is transparent in part. Over another dot it is left out: blending would take longer.
        if (pixel >= OPAQUE || (pixel && !out[to])) out[to] = pixel;
      }
    }
  }

  /** Show the picture, and return the canvas for what is drawn above the dots, in CSS pixels. */
  show(): CanvasRenderingContext2D {
    this.#pen.putImageData(this.#picture, 0, 0);
    this.#pen.setTransform(this.#ratio, 0, 0, this.#ratio, 0, 0);
    return this.#pen;
  }

  #stampOf(kind: DotKind): Stamp {
    let stamp = this.#stamps.get(kind);
    if (!stamp) this.#stamps.set(kind, stamp = drawStamp(kind, this.#radius));
    return stamp;
  }
}

function drawStamp(kind: DotKind, radius: number): Stamp {
  const [state, isOld] = kind.split("-") as [MapPerson["state"], string?];
  const size = Math.ceil((radius + EDGE_PX) * 2 * devicePixelRatio) + 1;
  const pen = new OffscreenCanvas(size, size).getContext("2d")!;
  const fill = (reach: number, color: string) => {
    pen.beginPath();
    pen.arc(size / 2, size / 2, reach * devicePixelRatio, 0, 2 * Math.PI);
    pen.fillStyle = colorOf(color);
    pen.fill();
  };
  pen.globalAlpha = isOld ? FAINT : 1;
  fill(radius + EDGE_PX, "--card");
  fill(radius, COLORS[state]);
  if (HOLES[state]) fill(radius * HOLES[state], "--card");
  return { size, pixels: new Uint32Array(pen.getImageData(0, 0, size, size).data.buffer) };
}
