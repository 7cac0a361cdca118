// The jobs as a table. A click on the head of a column sorts it.

import type { Job } from "../../shared/schema.ts";
import { money } from "../../shared/money.ts";
import { ago, dayAndTime } from "../../shared/time.ts";
import { Chip, type Column, Table } from "../../shared/ui/parts.tsx";
import type { Console } from "../data/console.ts";
import { sinceOf } from "../data/needs.ts";
import { tc } from "../i18n/texts.ts";
import { jobPath, personPath } from "../nav.ts";
import { selected, toggle } from "./bulk.tsx";
import { type Filters, setFilters, type Sort } from "./filters.ts";

const MAX_ROWS = 500;

export function JobTable(
  { console, jobs, filters, present }: { console: Console; jobs: Job[]; filters: Filters; present?: string },
) {
  const sorting = (name: Sort) => ({
    sort: () => setFilters({ sort: name, down: filters.sort === name && !filters.down }),
    sorted: filters.sort === name ? filters.down ? "descending" as const : "ascending" as const : undefined,
  });
  const columns: Column<Job>[] = [
    { name: "chosen", head: tc("jobs.chosen"), cell: (job) => <Choose job={job} /> },
    { name: "status", head: tc("jobs.status"), cell: (job) => <Status job={job} />, ...sorting("status") },
    {
      name: "service",
      head: tc("jobs.service"),
      cell: (job) => <a href={jobPath(job.id)}>{console.people.serviceName(job.service)}</a>,
    },
    { name: "address", head: tc("jobs.address"), cell: (job) => job.address },
    { name: "customer", head: tc("jobs.customer"), cell: (job) => job.customer?.name, ...sorting("customer") },
    {
      name: "technician",
      head: tc("jobs.technician"),
      cell: (job) => <Technician console={console} job={job} />,
      ...sorting("technician"),
    },
    {
      name: "amount",
      head: tc("jobs.amount"),
      number: true,
      cell: (job) => money(job.amount, job.currency),
      ...sorting("amount"),
    },
    { name: "since", head: tc("jobs.since"), number: true, cell: (job) => ago(sinceOf(job)), ...sorting("since") },
    {
      name: "created",
      head: tc("jobs.created"),
      cell: (job) => job.created_at && dayAndTime(job.created_at),
      ...sorting("created"),
    },
  ];
  const shown = jobs.slice(0, MAX_ROWS);
  return (
    <>
      <Table caption={tc("nav.jobs")} columns={columns} rows={shown} keyOf={(job) => job.id} selected={present} />
      {jobs.length > shown.length && <p class="soft small">{tc("jobs.more", { n: jobs.length - shown.length })}</p>}
    </>
  );
}

function Choose({ job }: { job: Job }) {
  return (
    <input
      type="checkbox"
      aria-label={tc("jobs.choose", { id: job.address ?? job.id })}
      checked={selected.value.has(job.id)}
      onChange={() => toggle(job.id)}
    />
  );
}

function Status({ job }: { job: Job }) {
  return (
    <Chip state={job.frozen ? "danger" : job.phase}>
      {job.frozen ? tc("job.frozen") : job.status.replaceAll("_", " ")}
    </Chip>
  );
}

function Technician({ console, job }: { console: Console; job: Job }) {
  const who = job.technician;
  return who
    ? <a href={personPath(who.id)}>{who.name || console.people.name(who.id)}</a>
    : <span class="soft">{tc("jobs.nobody")}</span>;
}
