// The live page: the map of the zone, what waits for the staff, and the present figures.

import { signal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { clock, duration } from "../../shared/time.ts";
import { Button } from "../../shared/ui/parts.tsx";
import { MapView } from "../../shared/ui/map_view.tsx";
import type { Console } from "../data/console.ts";
import { isJob } from "../data/map_feed.ts";
import { tc } from "../i18n/texts.ts";
import { useKeys } from "../keys.ts";
import { Announce, announceIsOpen } from "./announce.tsx";
import { Counts, only } from "./counts.tsx";
import type { LayerName, LiveMap } from "./live_map.ts";
import { NeedsList } from "./needs.tsx";
import { Panel } from "./panel.tsx";
import { phone, PhoneButtons, PhoneFrame } from "./phone_frame.tsx";
import { dropped, followDrags, Reassign } from "./reassign.tsx";
import { Strip } from "./strip.tsx";

/** The person or the job whose panel is open. */
export const chosen = signal("");
const layers = signal<Record<LayerName, boolean>>({ people: true, jobs: true, waves: true, names: true });
const sheetIsUp = signal(false);

export function LivePage({ console }: { console: Console }) {
  const live = useRef<LiveMap | null>(null);
  useKeys({ Escape: () => (chosen.value = "") });
  useEffect(() => only.subscribe((value) => live.current?.setFilter(value)), []);
  useEffect(() => chosen.subscribe((id) => live.current && void showChosen(console, live.current, id)), []);
  const view = useMemo(() => <LiveMapView console={console} live={live} />, []);
  return (
    <div class="live" data-sheet={sheetIsUp.value || undefined} data-phone={phone.value || undefined}>
      <h1 class="sr-only">{tc("nav.live")}</h1>
      <div class="live-map">
        {view}
        <Counts console={console} />
        <Layers live={live} />
        <PhoneButtons />
        <Age console={console} />
      </div>
      <aside class="live-side" aria-label={tc("needs.title")}>
        <button
          type="button"
          class="grip"
          aria-expanded={sheetIsUp.value}
          onClick={() => (sheetIsUp.value = !sheetIsUp.value)}
        >
          <span class="sr-only">{tc("live.sheet")}</span>
        </button>
        {phone.value
          ? <PhoneFrame app={phone.value} />
          : chosen.value
          ? <Panel console={console} id={chosen.value} close={() => (chosen.value = "")} />
          : <NeedsList console={console} show={(id) => (chosen.value = id, live.current?.flyTo(id))} />}
      </aside>
      <Strip console={console} />
      {dropped.value && <Reassign console={console} />}
      {announceIsOpen.value && <Announce console={console} />}
    </div>
  );
}

/** The map itself. It is created once and receives all changes. A new map for each change would flicker. */
function LiveMapView({ console, live }: { console: Console; live: { current: LiveMap | null } }) {
  return (
    <MapView
      label={tc("live.map")}
      past={console.isOps ? console.past : undefined}
      load={() => import("./live_map.ts")}
      ready={(city, { LiveMap }) => {
        const map = live.current = new LiveMap(city, console);
        const clicks = (event: { point: { x: number; y: number } }) => {
          chosen.value = map.thingAt(event.point) ?? "";
          if (chosen.value) phone.value = "";
          if (chosen.value) sheetIsUp.value = true;
        };
        city.map.on("click", clicks);
        const endDrags = followDrags(map, console);
        map.setFilter(only.value);
        for (const [name, shown] of Object.entries(layers.value)) map.setLayer(name as LayerName, shown);
        return () => (endDrags(), map.end(), live.current = null);
      }}
    />
  );
}

async function showChosen(console: Console, map: LiveMap, id: string): Promise<void> {
  map.choose(id);
  const thing = console.map.things.get(id);
  if (!thing || !isJob(thing)) return;
  const waves = await console.api.list("GET /v1/jobs/{id}/waves", { params: { id } }).catch(() => []);
  if (chosen.value === id) map.choose(id, waves.flatMap((wave) => wave.in.technicians));
}

function Layers({ live }: { live: { current: LiveMap | null } }) {
  return (
    <fieldset class="layers">
      <legend class="sr-only">{tc("live.layers")}</legend>
      {(Object.keys(layers.value) as LayerName[]).map((name) => (
        <Button
          key={name}
          aria-pressed={layers.value[name]}
          onClick={() => {
            layers.value = { ...layers.value, [name]: !layers.value[name] };
            live.current?.setLayer(name, layers.value[name]);
          }}
        >
          {tc(`layer.${name}`)}
        </Button>
      ))}
    </fieldset>
  );
}

/** The age of the map while nothing arrives. The map still shows what it has, in grey. */
function Age({ console }: { console: Console }) {
  const lost = console.live.lostAt.value;
  useEffect(() => {
    document.querySelector(".live-map")?.toggleAttribute("data-stale", lost !== null);
  }, [lost !== null]);
  if (lost === null || !clock.value) return null;
  return <p class="age" role="status">{tc("live.age", { duration: duration((performance.now() - lost) / 1000) })}</p>;
}
