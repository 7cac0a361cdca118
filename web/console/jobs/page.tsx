// The page of jobs: the same jobs as a board whose cards move by themselves, as a table, or on a map.

import { signal } from "@preact/signals";
import type { Job } from "../../shared/schema.ts";
import { go } from "../../shared/router.ts";
import { Button, Empty, Field, Spinner, Tabs } from "../../shared/ui/parts.tsx";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";
import { useKeys, useListKeys } from "../keys.ts";
import { jobPath } from "../nav.ts";
import { Board } from "./board.tsx";
import { Bulk, selected, toggle } from "./bulk.tsx";
import {
  type ColumnName,
  COLUMNS,
  csvOf,
  type Filters,
  filtersNow,
  jobsOf,
  setFilters,
  type View,
  VIEWS,
} from "./filters.ts";
import { JobsMap } from "./map.tsx";
import { JobTable } from "./table.tsx";

const at = signal(-1);

export function JobsPage({ console }: { console: Console }) {
  const filters = filtersNow();
  const jobs = console.jobs.changes.value >= 0 ? jobsOf(console, filters) : [];
  const present = jobs[at.value];
  useListKeys(jobs.length, at.value, (to) => (at.value = to), () => present && go(jobPath(present.id)));
  useKeys({ x: () => present && toggle(present.id), Escape: () => (selected.value = new Set()) });
  return (
    <div class="page jobs-page">
      <header class="page-head">
        <h1>{tc("nav.jobs")}</h1>
        <span class="soft number">{tc("jobs.count", { n: jobs.length })}</span>
        <span class="grow" />
        <Tabs<View>
          label={tc("jobs.view")}
          tabs={VIEWS.map((view) => [view, tc(`jobs.${view}`)] as const)}
          chosen={filters.view}
          choose={(view) => setFilters({ view })}
        />
      </header>
      <FilterRow console={console} filters={filters} jobs={jobs} />
      <Bulk console={console} />
      {!console.jobs.loaded.value
        ? <Spinner label={tc("frame.loading")} />
        : !jobs.length
        ? <NoJobs filters={filters} />
        : filters.view === "board"
        ? <Board console={console} jobs={jobs} present={present?.id} />
        : filters.view === "map"
        ? <JobsMap console={console} jobs={jobs} present={present?.id} />
        : <JobTable console={console} jobs={jobs} filters={filters} present={present?.id} />}
    </div>
  );
}

function FilterRow({ console, filters, jobs }: { console: Console; filters: Filters; jobs: Job[] }) {
  const blueprints = Object.values(console.blueprints.byName.value);
  return (
    <div class="filters">
      <Field label={tc("jobs.filter_text")}>
        {(a) => (
          <input
            {...a}
            type="search"
            value={filters.text}
            onInput={(event) => setFilters({ text: event.currentTarget.value })}
          />
        )}
      </Field>
      <Field label={tc("jobs.filter_column")}>
        {(a) => (
          <select
            {...a}
            value={filters.column}
            onChange={(event) => setFilters({ column: event.currentTarget.value as ColumnName })}
          >
            <option value="">{tc("jobs.all")}</option>
            {COLUMNS.map((name) => <option key={name} value={name}>{tc(`column.${name}`)}</option>)}
          </select>
        )}
      </Field>
      <Field label={tc("jobs.filter_blueprint")}>
        {(a) => (
          <select
            {...a}
            value={filters.blueprint}
            onChange={(event) => setFilters({ blueprint: event.currentTarget.value })}
          >
            <option value="">{tc("jobs.all")}</option>
            {blueprints.map(({ name, title }) => <option key={name} value={name}>{title}</option>)}
          </select>
        )}
      </Field>
      <Button icon="list" disabled={!jobs.length} onClick={() => download(csvOf(console, jobs))}>
        {tc("jobs.export")}
      </Button>
    </div>
  );
}

function download(text: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
  link.download = "jobs.csv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function NoJobs({ filters }: { filters: Filters }) {
  const isFiltered = filters.text || filters.column || filters.blueprint;
  return (
    <Empty
      icon="list"
      title={tc(isFiltered ? "jobs.none_filtered" : "jobs.none")}
      action={isFiltered
        ? <Button onClick={() => setFilters({ text: "", column: "", blueprint: "" })}>{tc("jobs.clear")}</Button>
        : undefined}
    >
      {tc(isFiltered ? "jobs.none_filtered_text" : "jobs.none_text")}
    </Empty>
  );
}
