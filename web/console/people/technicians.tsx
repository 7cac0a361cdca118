// The technicians: load, rating, and as chips the reasons why each gets no work.

import { signal } from "@preact/signals";
import { go } from "../../shared/router.ts";
import { Chip, type Column, Empty, Field, Table } from "../../shared/ui/parts.tsx";
import type { Technician } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";
import { useListKeys } from "../keys.ts";
import { personPath } from "../nav.ts";

const text = signal("");
const state = signal("");
const at = signal(-1);
const MAX_ROWS = 300;
const MAX_SERVICES = 2;
const STATES = ["online", "offline", "blocked"] as const;

/** Return the known reasons why a technician gets no work. */
export function blockersOf(who: Technician): string[] {
  return [
    !who.services.length && "profile_incomplete",
    who.kyc !== undefined && who.kyc !== "approved" && "kyc_not_approved",
    who.account !== undefined && who.account !== "approved" && "account_not_approved",
    !who.online && "offline",
    who.capacity != null && (who.load ?? 0) >= who.capacity && "at_capacity",
  ].filter(Boolean) as string[];
}

function matches(who: Technician): boolean {
  if (!who.name.toLowerCase().includes(text.value.toLowerCase())) return false;
  if (state.value === "online") return who.online;
  if (state.value === "offline") return !who.online;
  return state.value !== "blocked" || blockersOf(who).some((code) => code !== "offline" && code !== "at_capacity");
}

export function Technicians({ console }: { console: Console }) {
  const all = [...console.people.technicians.value.values()];
  const rows = all.filter(matches).sort((a, b) => Number(b.online) - Number(a.online) || a.name.localeCompare(b.name))
    .slice(0, MAX_ROWS);
  useListKeys(
    rows.length,
    at.value,
    (to) => (at.value = to),
    () => rows[at.value] && go(personPath(rows[at.value].id)),
  );
  const columns: Column<Technician>[] = [
    { name: "name", head: tc("person.name"), cell: (row) => <a href={personPath(row.id)}>{row.name || row.id}</a> },
    {
      name: "online",
      head: tc("person.online"),
      cell: (row) => (
        <Chip state={row.online ? "done" : "closed"}>{tc(row.online ? "person.is_online" : "person.offline")}</Chip>
      ),
    },
    { name: "blockers", head: tc("person.blockers"), cell: (row) => <Blockers who={row} /> },
    {
      name: "load",
      head: tc("person.load"),
      number: true,
      cell: (row) => row.capacity === undefined ? "" : `${row.load ?? 0} / ${row.capacity}`,
    },
    {
      name: "rating",
      head: tc("person.rating"),
      number: true,
      cell: (row) => `${row.rating.toFixed(1)} (${row.rating_count})`,
    },
    {
      name: "services",
      head: tc("person.services"),
      cell: (row) => servicesOf(console, row),
    },
    { name: "zone", head: tc("frame.zone"), cell: (row) => row.zone },
  ];
  return (
    <div class="stack">
      <div class="filters">
        <Field label={tc("choice.find")}>
          {(a) => (
            <input
              {...a}
              type="search"
              value={text.value}
              onInput={(event) => (text.value = event.currentTarget.value)}
            />
          )}
        </Field>
        <Field label={tc("person.state")}>
          {(a) => (
            <select {...a} value={state.value} onChange={(event) => (state.value = event.currentTarget.value)}>
              <option value="">{tc("jobs.all")}</option>
              {STATES.map((name) => <option key={name} value={name}>{tc(`person.filter_${name}`)}</option>)}
            </select>
          )}
        </Field>
      </div>
      {rows.length
        ? (
          <Table
            caption={tc("people.technicians")}
            columns={columns}
            rows={rows}
            keyOf={(row) => row.id}
            selected={rows[at.value]?.id}
          />
        )
        : (
          <Empty icon="people" title={tc(all.length ? "people.none_filtered" : "people.none")}>
            {tc(all.length ? "jobs.none_filtered_text" : "people.none_text")}
          </Empty>
        )}
    </div>
  );
}

export function Blockers({ who }: { who: Technician }) {
  const codes = blockersOf(who).filter((code) => code !== "offline");
  if (!codes.length) return <span class="soft">{tc("person.no_blockers")}</span>;
  return (
    <span class="row">
      {codes.map((code) => (
        <Chip key={code} state={code === "at_capacity" ? "assigned" : "danger"}>
          {tc(`blocker.${code}` as "blocker.offline")}
        </Chip>
      ))}
    </span>
  );
}

function servicesOf(console: Console, who: Technician): string {
  const names = who.services.map((id) => console.people.serviceName(id));
  const more = names.length - MAX_SERVICES;
  return names.slice(0, MAX_SERVICES).join(", ") + (more > 0 ? ` +${more}` : "");
}
