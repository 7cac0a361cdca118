// The path of the technician for this job, with a slider over its time.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import type { Place, Points } from "../../shared/map.ts";
import { ago, timeOfDay } from "../../shared/time.ts";
import { MapView } from "../../shared/ui/map_view.tsx";
import { Empty, Field } from "../../shared/ui/parts.tsx";
import type { Job, PathLine, Position } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";
import { useLoaded } from "../load.ts";
import { Shown } from "../shown.tsx";

export function TrackTab({ console, job }: { console: Console; job: Job }) {
  const read = () => console.api.call("GET /v1/jobs/{id}/track", { params: { id: job.id }, query: { path: true } });
  const loaded = useLoaded(read, [job.id, job.version]);
  return (
    <Shown loaded={loaded}>
      {({ position, path }) =>
        position || path
          ? <Playback key={job.id} job={job} position={position} path={path ?? null} />
          : <Empty icon="map" title={tc("track.none")}>{tc("track.none_text")}</Empty>}
    </Shown>
  );
}

const step = signal(-1);

function Playback({ job, position, path }: { job: Job; position: Position | null; path: PathLine | null }) {
  const marker = useRef<Points | null>(null);
  const places = (path?.coordinates ?? []) as Place[];
  const last = places.length - 1;
  const at = step.value < 0 || step.value > last ? last : step.value;
  const here: Place | null = at >= 0 ? places[at] : position ? [position.lon, position.lat] : null;
  useEffect(() => void (step.value = -1), [job.id]);
  useEffect(() => {
    if (here) marker.current?.set("here", here);
  }, [here?.[0], here?.[1]]);
  return (
    <div class="stack">
      <div class="track-map">
        <MapView
          label={tc("track.map")}
          view={{ center: [job.lon, job.lat], zoom: 13 }}
          load={() => import("./track_layers.ts")}
          ready={(city, { addTrack }) => {
            marker.current = addTrack(city, [job.lon, job.lat], places);
            if (here) marker.current.set("here", here);
          }}
        />
      </div>
      {last > 0 && path && (
        <Field label={tc("track.slider", { time: timeOfDay(path.times[at]) })}>
          {(a) => (
            <input
              {...a}
              type="range"
              min={0}
              max={last}
              value={at}
              aria-valuetext={timeOfDay(path.times[at])}
              onInput={(event) => (step.value = Number(event.currentTarget.value))}
            />
          )}
        </Field>
      )}
      {position && <p class="soft small">{tc("track.last", { age: ago(position.at) })}</p>}
    </div>
  );
}
