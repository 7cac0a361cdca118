// The map of one job: its place, the ring of the search as it widens, and the technician's marker, which glides from one
// position to the next and turns grey when it is old.

import { useEffect, useRef } from "preact/hooks";
import type * as GeoJSON from "geojson";
import type { CityMap, Place, Points } from "../shared/map.ts";
import { colorOf } from "../shared/theme.ts";
import { MapView } from "../shared/ui/map_view.tsx";

export interface Marker {
  lat: number;
  lon: number;
  stale: boolean;
  jump?: boolean;
}
interface JobMapProps {
  label: string;
  place?: Place;
  marker?: Marker | null;
  /** The radius of the search in metres; 0 or nothing: no ring. */
  radius?: number;
}

const GLIDE_MS = 1_000;
const isStill = matchMedia("(prefers-reduced-motion: reduce)");

/** A circle on the ground as a polygon. */
export function circle([lon, lat]: Place, radius: number): GeoJSON.Polygon {
  const [north, east] = [radius / 111_195, radius / (111_195 * Math.cos((lat * Math.PI) / 180))];
  const ring = Array.from({ length: 65 }, (_, i) => {
    const angle = (2 * Math.PI * (i % 64)) / 64;
    return [lon + east * Math.cos(angle), lat + north * Math.sin(angle)];
  });
  return { type: "Polygon", coordinates: [ring] };
}

class Drawing {
  readonly #ring: Points;
  readonly #places: Points;
  #shown: Marker | null = null;
  #radius = 0;
  #frame = 0;
  #ringFrame = 0;
  #hasFitted = "";
  #place = "";

  constructor(private readonly map: CityMap) {
    this.#ring = map.points("ring", () => [
      { id: "ring-fill", type: "fill", paint: { "fill-color": colorOf("--brand"), "fill-opacity": 0.1 } },
      {
        id: "ring-line",
        type: "line",
        paint: { "line-color": colorOf("--brand"), "line-width": 2, "line-opacity": 0.7 },
      },
    ]);
    this.#places = map.points("places", () => [
      {
        id: "halo",
        type: "circle",
        paint: {
          "circle-radius": ["match", ["get", "kind"], "technician", 15, 12],
          "circle-color": ["match", ["get", "kind"], "technician", colorOf("--active"), colorOf("--brand")],
          "circle-opacity": 0.2,
        },
      },
      {
        id: "dot",
        type: "circle",
        paint: {
          "circle-radius": ["match", ["get", "kind"], "technician", 9, 7],
          "circle-color": [
            "match",
            ["get", "kind"],
            "technician",
            colorOf("--active"),
            "stale",
            colorOf("--closed"),
            colorOf("--brand"),
          ],
          "circle-stroke-color": colorOf("--card"),
          "circle-stroke-width": 3,
        },
      },
    ]);
  }

  show({ place, marker, radius }: JobMapProps): void {
    if (place && `${place}` !== this.#place) this.#places.set("place", place, { kind: "place" });
    this.#place = `${place}`;
    if (place) this.#growTo(place, radius ?? 0);
    this.#glideTo(marker ?? null);
    this.#fit(place, marker ?? null, radius ?? 0);
  }

  close(): void {
    cancelAnimationFrame(this.#frame);
    cancelAnimationFrame(this.#ringFrame);
  }

  #put({ lat, lon, stale }: Marker): void {
    this.#places.set("technician", [lon, lat], { kind: stale ? "stale" : "technician" });
  }

  #glideTo(marker: Marker | null): void {
    const from = this.#shown;
    if (isSame(from, marker)) return;
    this.#shown = marker;
    cancelAnimationFrame(this.#frame);
    if (!marker) return this.#places.remove("technician");
    if (!from || marker.jump || marker.stale || isStill.matches) return this.#put(marker);
    const began = performance.now();
    const draw = (now: number) => {
      const part = Math.min(1, (now - began) / GLIDE_MS);
      this.#put({
        ...marker,
        lat: from.lat + part * (marker.lat - from.lat),
        lon: from.lon + part * (marker.lon - from.lon),
      });
      if (part < 1) this.#frame = requestAnimationFrame(draw);
    };
    this.#frame = requestAnimationFrame(draw);
  }

  #growTo(place: Place, radius: number): void {
    const from = this.#radius;
    if (radius === from) return;
    this.#radius = radius;
    cancelAnimationFrame(this.#ringFrame);
    if (!radius) return this.#ring.remove("ring");
    const began = performance.now();
    const draw = (now: number) => {
      const part = isStill.matches ? 1 : Math.min(1, (now - began) / GLIDE_MS);
      this.#ring.set("ring", circle(place, Math.max(10, from + part * (radius - from))));
      if (part < 1) this.#ringFrame = requestAnimationFrame(draw);
    };
    this.#ringFrame = requestAnimationFrame(draw);
  }

  /** Fit the view again when there is something new to show, but not with each position, because the person may have moved the map. */
  #fit(place: Place | undefined, marker: Marker | null, radius: number): void {
    const what = `${place} ${marker !== null} ${radius}`;
    if (what === this.#hasFitted) return;
    this.#hasFitted = what;
    const places: Place[] = place ? [place] : [];
    if (marker) places.push([marker.lon, marker.lat]);
    if (place && radius) places.push(...(circle(place, radius).coordinates[0] as Place[]));
    this.map.fit(places, { animate: !isStill.matches, maxZoom: 16, padding: 40 });
  }
}

const isSame = (one: Marker | null, other: Marker | null) =>
  one?.lat === other?.lat && one?.lon === other?.lon && one?.stale === other?.stale;

export function JobMap(props: JobMapProps) {
  const drawing = useRef<Drawing | null>(null);
  const latest = useRef(props);
  latest.current = props;
  useEffect(() => drawing.current?.show(props));
  const [lon, lat] = props.place ?? (props.marker ? [props.marker.lon, props.marker.lat] : [0, 0]);
  return (
    <MapView
      label={props.label}
      view={lon || lat ? { center: [lon, lat], zoom: 14 } : undefined}
      ready={(map) => {
        const mine = new Drawing(map);
        drawing.current = mine;
        mine.show(latest.current);
        return () => {
          mine.close();
          drawing.current = null;
        };
      }}
    />
  );
}
