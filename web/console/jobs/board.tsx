// The board: a column for each stage. A card that changes its stage moves to its new place.

import { useLayoutEffect, useRef } from "preact/hooks";
import type { Job } from "../../shared/schema.ts";
import { ago } from "../../shared/time.ts";
import { money } from "../../shared/money.ts";
import { Chip } from "../../shared/ui/parts.tsx";
import type { Console } from "../data/console.ts";
import { sinceOf } from "../data/needs.ts";
import { tc } from "../i18n/texts.ts";
import { jobPath } from "../nav.ts";
import { selected } from "./bulk.tsx";
import { type ColumnName, columnOf, COLUMNS } from "./filters.ts";

const MAX_CARDS = 60;
const MOVE_MS = 350;

export function Board({ console, jobs, present }: { console: Console; jobs: Job[]; present?: string }) {
  const board = useRef<HTMLDivElement>(null);
  useMoves(board);
  const byColumn = new Map<ColumnName, Job[]>(COLUMNS.map((name) => [name, []]));
  for (const job of jobs) byColumn.get(columnOf(job))!.push(job);
  return (
    <div class="board" ref={board}>
      {COLUMNS.map((name) => {
        const all = byColumn.get(name)!;
        const shown = name === "done" ? all.slice(-MAX_CARDS).reverse() : all.slice(0, MAX_CARDS);
        return (
          <section key={name} aria-label={tc(`column.${name}`)}>
            <h2>
              {tc(`column.${name}`)} <span class="soft number">{all.length}</span>
            </h2>
            <ul>
              {shown.map((job) => <Card key={job.id} console={console} job={job} isPresent={job.id === present} />)}
            </ul>
            {all.length > shown.length && <p class="soft small">{tc("jobs.more", { n: all.length - shown.length })}</p>}
          </section>
        );
      })}
    </div>
  );
}

function Card({ console, job, isPresent }: { console: Console; job: Job; isPresent: boolean }) {
  const search = console.jobs.searches.get(job.id);
  return (
    <li data-id={job.id} data-present={isPresent || undefined} data-selected={selected.value.has(job.id) || undefined}>
      <a href={jobPath(job.id)}>
        <span class="row">
          <Chip state={job.frozen ? "danger" : job.phase}>
            {job.frozen ? tc("job.frozen") : job.status.replaceAll("_", " ")}
          </Chip>
          <span class="grow" />
          <span class="soft small number">{ago(sinceOf(job))}</span>
        </span>
        <strong>{console.people.serviceName(job.service)}</strong>
        <span class="soft small">{job.address ?? job.id}</span>
        <span class="row small">
          <span class="grow">
            {job.technician
              ? console.people.name(job.technician.id)
              : search
              ? tc("jobs.asking", { n: search.asked })
              : tc("jobs.nobody")}
          </span>
          <span class="number">{money(job.amount, job.currency)}</span>
        </span>
      </a>
    </li>
  );
}

/** Let each card move from where it was to where it is now (FLIP), unless the user asked for less motion. */
function useMoves(board: { current: HTMLDivElement | null }): void {
  const places = useRef(new Map<string, DOMRect>());
  useLayoutEffect(() => {
    const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
    const next = new Map<string, DOMRect>();
    for (const card of board.current?.querySelectorAll<HTMLElement>("li[data-id]") ?? []) {
      const [to, from] = [card.getBoundingClientRect(), places.current.get(card.dataset.id!)];
      next.set(card.dataset.id!, to);
      if (still || !from || (from.left === to.left && from.top === to.top)) continue;
      if (from.left === to.left) continue; // a card above it left: only a new stage is worth a look
      const start = { transform: `translate(${from.left - to.left}px, ${from.top - to.top}px)`, zIndex: 2 };
      card.animate([start, { transform: "none" }], { duration: MOVE_MS, easing: "ease-out" });
    }
    places.current = next;
  });
}
