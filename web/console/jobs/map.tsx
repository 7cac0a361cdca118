// The jobs on a map: those that the filters let through. A click opens a job.

import { useEffect, useMemo, useRef } from "preact/hooks";
import { go } from "../../shared/router.ts";
import type { Job } from "../../shared/schema.ts";
import { MapView } from "../../shared/ui/map_view.tsx";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";
import { jobPath } from "../nav.ts";
import type { JobsLayer } from "./jobs_layer.ts";

export function JobsMap({ console, jobs, present }: { console: Console; jobs: Job[]; present?: string }) {
  const layer = useRef<JobsLayer | null>(null);
  const shown = useRef({ jobs, present });
  shown.current = { jobs, present };
  useEffect(() => layer.current?.show(jobs, present));
  const view = useMemo(() => (
    <MapView
      label={tc("jobs.map_label")}
      past={console.isOps ? console.past : undefined}
      load={() => import("./jobs_layer.ts")}
      ready={(city, { JobsLayer }) => {
        layer.current = new JobsLayer(city, (id) => go(jobPath(id)));
        layer.current.show(shown.current.jobs, shown.current.present);
        layer.current.fit();
        return () => (layer.current = null);
      }}
    />
  ), []);
  return <div class="jobs-map">{view}</div>;
}
