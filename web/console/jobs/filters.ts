// The filters of the jobs page, which are stored in the page's address. So a link shows the same jobs to another
// person.

import { go, place, queryNow } from "../../shared/router.ts";
import type { Job } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { sinceOf } from "../data/needs.ts";

export const VIEWS = ["board", "table", "map"] as const;
export type View = (typeof VIEWS)[number];
export const COLUMNS = ["unassigned", "assigned", "way", "working", "done"] as const;
export type ColumnName = (typeof COLUMNS)[number];
export const SORTS = ["since", "status", "customer", "technician", "amount", "created"] as const;
export type Sort = (typeof SORTS)[number];

export interface Filters {
  view: View;
  column: ColumnName | "";
  blueprint: string;
  text: string;
  sort: Sort;
  down: boolean;
}

interface Staged {
  phase: Job["phase"];
  status: string;
  technician?: unknown;
  asked?: boolean | null;
}

const WAY = /way|transit|travel|depart/;

/** The column in which a job stands: nobody has the job, a technician has it, they are on the way, they work, or it is
 * over. */
export function columnOf(job: Staged): ColumnName {
  if (job.phase === "done" || job.phase === "closed") return "done";
  if (!job.technician || job.asked) return "unassigned";
  if (job.phase !== "active") return "assigned";
  return WAY.test(job.status) ? "way" : "working";
}

export function filtersNow(): Filters {
  const query = queryNow();
  const pick = <T extends string>(name: string, allowed: readonly T[], otherwise: T): T => {
    const value = query.get(name) as T;
    return allowed.includes(value) ? value : otherwise;
  };
  return {
    view: pick("view", VIEWS, "board"),
    column: pick("column", ["", ...COLUMNS], ""),
    blueprint: query.get("blueprint") ?? "",
    text: query.get("q") ?? "",
    sort: pick("sort", SORTS, "since"),
    down: query.get("down") === "1",
  };
}

/** Change some filters, which changes the address. */
export function setFilters(change: Partial<Filters>): void {
  const { view, column, blueprint, text, sort, down } = { ...filtersNow(), ...change };
  const query = new URLSearchParams();
  const set = (name: string, value: string, otherwise: string) => value !== otherwise && query.set(name, value);
  set("view", view, "board");
  set("column", column, "");
  set("blueprint", blueprint, "");
  set("q", text, "");
  set("sort", sort, "since");
  set("down", down ? "1" : "", "");
  const path = place.value.split("?")[0];
  go(query.size ? `${path}?${query}` : path, { replace: true });
}

/** Return the jobs that the filters let through, sorted. */
export function jobsOf(console: Console, filters: Filters): Job[] {
  const text = filters.text.trim().toLowerCase();
  const shown = console.jobs.all().filter((job) =>
    (!filters.column || columnOf(job) === filters.column) &&
    (!filters.blueprint || job.blueprint === filters.blueprint) &&
    (!text || textOf(console, job).includes(text))
  );
  const key = keyOf(console, filters.sort);
  const sign = filters.down ? -1 : 1;
  return shown
    .map((job) => ({ job, key: key(job) }))
    .sort((a, b) => sign * (a.key < b.key ? -1 : a.key > b.key ? 1 : 0))
    .map(({ job }) => job);
}

function textOf(console: Console, job: Job): string {
  return [
    job.id,
    job.address,
    job.postal_code,
    job.reference,
    job.customer?.name,
    job.technician?.name,
    console.people.serviceName(job.service),
    job.status,
  ].join(" ").toLowerCase();
}

function keyOf(console: Console, sort: Sort): (job: Job) => string | number {
  switch (sort) {
    case "since":
      return sinceOf;
    case "status":
      return (job) => job.status;
    case "customer":
      return (job) => job.customer?.name ?? "";
    case "technician":
      return (job) => job.technician?.name ?? console.people.name(job.technician?.id ?? "");
    case "amount":
      return (job) => job.amount;
    case "created":
      return (job) => job.created_at ?? "";
  }
}

/** Return the jobs as a table for a spreadsheet (RFC 4180). */
export function csvOf(console: Console, jobs: Job[]): string {
  const cell = (value: unknown) => {
    const text = String(value ?? "");
    // A spreadsheet would run a text that begins like a formula.
    const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const head = [
    "id",
    "status",
    "phase",
    "blueprint",
    "service",
    "customer",
    "technician",
    "address",
    "amount",
    "currency",
    "created_at",
  ];
  const rows = jobs.map((job) => [
    job.id,
    job.status,
    job.phase,
    job.blueprint,
    console.people.serviceName(job.service),
    job.customer?.name,
    job.technician?.name,
    job.address,
    job.amount,
    job.currency,
    job.created_at,
  ]);
  return [head, ...rows].map((row) => row.map(cell).join(",")).join("\r\n");
}
