// Who did what: the archived events, by actor and action.

import { signal } from "@preact/signals";
import { dayAndTime } from "../../shared/time.ts";
import { type Column, Empty, Field, Table } from "../../shared/ui/parts.tsx";
import type { AuditEntry } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";
import { actorName } from "../job/timeline.tsx";
import { useLoaded } from "../load.ts";
import { jobPath } from "../nav.ts";
import { Shown } from "../shown.tsx";

const ACTIONS = ["", "job.*", "technician.*", "user.*", "session.*", "staff.*", "payment.*"] as const;
const action = signal<(typeof ACTIONS)[number]>("");

export function Trail({ console }: { console: Console }) {
  const query = { zone: console.zone, action: action.value || undefined, limit: 30 };
  const loaded = useLoaded(() => console.api.call("GET /v1/audit", { query }), [action.value]);
  const columns: Column<AuditEntry>[] = [
    { name: "seq", head: "seq", number: true, cell: (row) => row.seq },
    { name: "at", head: tc("events.at"), cell: (row) => dayAndTime(row.at) },
    {
      name: "action",
      head: tc("events.action"),
      cell: (row) => row.entity === "job" && row.id ? <a href={jobPath(row.id)}>{row.action}</a> : row.action,
    },
    { name: "actor", head: tc("events.actor"), cell: (row) => actorName(console, row.actor) },
  ];
  return (
    <div class="stack">
      <Field label={tc("events.action")}>
        {(a) => (
          <select
            {...a}
            value={action.value}
            onChange={(event) => (action.value = event.currentTarget.value as typeof action.value)}
          >
            {ACTIONS.map((name) => <option key={name} value={name}>{name || tc("jobs.all")}</option>)}
          </select>
        )}
      </Field>
      <Shown loaded={loaded}>
        {({ items }) =>
          items.length
            ? (
              <Table
                caption={tc("frame.table", { name: tc("activity.trail") })}
                columns={columns}
                rows={items}
                keyOf={(row) => String(row.seq)}
              />
            )
            : <Empty icon="activity" title={tc("events.none")}>{tc("events.none_text")}</Empty>}
      </Shown>
    </div>
  );
}
