// How many jobs and people in view are in each state. A click on a count filters the map.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { Console } from "../data/console.ts";
import { isJob, isPerson } from "../data/map_feed.ts";
import { tc } from "../i18n/texts.ts";
import { columnOf } from "../jobs/filters.ts";

/** The only kind that the map shows, such as `jobs:way` or `people:free`; "" shows everything. */
export const only = signal("");

const NAMES = [
  "jobs:unassigned",
  "jobs:assigned",
  "jobs:way",
  "jobs:working",
  "people:free",
  "people:busy",
  "people:offline",
] as const;
type Name = (typeof NAMES)[number];
const STATES: Record<Name, string> = {
  "jobs:unassigned": "open",
  "jobs:assigned": "assigned",
  "jobs:way": "active",
  "jobs:working": "active",
  "people:free": "done",
  "people:busy": "active",
  "people:offline": "closed",
};
const EVERY_MS = 500;
const counts = signal<Partial<Record<Name, number>>>({});

export function Counts({ console }: { console: Console }) {
  useEffect(() => countChanges(console), []);
  return (
    <div class="counts" role="group" aria-label={tc("live.counts")}>
      {NAMES.map((name) => (
        <button
          key={name}
          type="button"
          class="count"
          data-state={STATES[name]}
          data-kind={name.split(":")[0]}
          aria-pressed={only.value === name}
          onClick={() => (only.value = only.value === name ? "" : name)}
        >
          <span class="number">{counts.value[name] ?? 0}</span> {tc(`count.${name}`)}
        </button>
      ))}
    </div>
  );
}

/** Count at most twice a second, however much changes. Return a function that ends this. */
function countChanges(console: Console): () => void {
  let [last, timer] = [0, undefined as ReturnType<typeof setTimeout> | undefined];
  const end = console.map.onChange(() => {
    if (timer) return;
    timer = setTimeout(() => {
      [last, timer] = [performance.now(), undefined];
      counts.value = countsOf(console);
    }, Math.max(0, EVERY_MS - (performance.now() - last)));
  });
  return () => (clearTimeout(timer), end());
}

function countsOf(console: Console): Record<string, number> {
  const found: Record<string, number> = {};
  const add = (name: string) => (found[name] = (found[name] ?? 0) + 1);
  for (const thing of console.map.things.values()) {
    if (isPerson(thing)) add(`people:${thing.state}`);
    else if (isJob(thing)) add(`jobs:${columnOf(thing)}`);
  }
  return found;
}
