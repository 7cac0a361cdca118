// A map in a page. Its code is loaded when the first map is shown.

import { useEffect, useRef } from "preact/hooks";
import type { CityMap, Place } from "../map.ts";
import { loadMeta } from "../meta.ts";

interface MapViewProps<Code> {
  /** What the map shows, read aloud. */
  label: string;
  /** Where to look first; by default the demo's town, else the world. */
  view?: { center: Place; zoom: number };
  /** Read the places of past jobs, for a map without another background. */
  past?: () => Promise<Place[]>;
  /** Load the code of the page's own layers, together with that of the map. */
  load?: () => Promise<Code>;
  /** Called once, when the map and the code are there. What it returns is called before the map goes. */
  ready?: (map: CityMap, code: Code) => void | (() => void);
}

export function MapView<Code = undefined>({ label, view, past, load, ready }: MapViewProps<Code>) {
  const box = useRef<HTMLDivElement>(null);
  useEffect(() => {
    let [gone, map, end] = [false, null as CityMap | null, undefined as void | (() => void)];
    void (async () => {
      const [maps, meta, code] = await Promise.all([import("../map.ts"), loadMeta(), load?.()]);
      const town = await maps.readTown(meta);
      await document.fonts.ready;
      if (gone || !box.current) return; // the user has left the page meanwhile
      const bounds = maps.boxOf(town);
      map = new maps.CityMap(box.current, meta, town, view ?? { center: [13.4, 52.52], zoom: 11 });
      if (!view && bounds) map.map.fitBounds(bounds, { padding: 24, animate: false });
      if (past) map.drawPast(past);
      end = ready?.(map, code as Code);
    })();
    return () => {
      gone = true;
      end?.();
      map?.remove();
    };
  }, []);
  return (
    <div class="map-view">
      <div class="map-canvas" ref={box} role="region" aria-label={label} />
    </div>
  );
}
