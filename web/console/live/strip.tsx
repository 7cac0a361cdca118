// The figures of all gateways together, of the last 15 minutes.

import { useEffect } from "preact/hooks";
import { clock, duration } from "../../shared/time.ts";
import { Sparkline } from "../../shared/ui/parts.tsx";
import type { StatsPoint } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";

const SHOWN_POINTS = 150;
const OLD_MS = 10_000;

export const FIGURES = [
  ["claims_per_s", (point: StatsPoint) => point.claims_per_s, (value: number) => value.toFixed(1)],
  ["open_jobs", (point: StatsPoint) => point.open_jobs, String],
  ["p50_s", (point: StatsPoint) => point.p50_s ?? 0, milliseconds],
  ["p99_s", (point: StatsPoint) => point.p99_s ?? 0, milliseconds],
  ["lag_s", (point: StatsPoint) => point.lag_s, milliseconds],
  ["sockets", (point: StatsPoint) => point.sockets, String],
  ["errors", (point: StatsPoint) => point.errors, String],
] as const;

function milliseconds(seconds: number): string {
  return seconds ? `${seconds >= 0.01 ? Math.round(seconds * 1000) : (seconds * 1000).toFixed(1)} ms` : "–";
}

export function Strip({ console }: { console: Console }) {
  useEffect(() => console.stats.follow(), []);
  const points = console.stats.points.value.slice(-SHOWN_POINTS);
  const last = points.at(-1);
  const age = last ? clock.value - Date.parse(last.at) : 0;
  return (
    <footer class="strip" data-stale={age > OLD_MS || undefined}>
      {FIGURES.map(([name, read, show]) => (
        <div key={name} class="figure">
          <span class="label">{tc(`stats.${name}`)}</span>
          <strong class="number">{last ? show(read(last)) : "–"}</strong>
          <Sparkline values={points.length > 1 ? points.map(read) : [0, 0]} />
        </div>
      ))}
      {age > OLD_MS && <span class="small">{tc("stats.age", { duration: duration(age / 1000) })}</span>}
    </footer>
  );
}
