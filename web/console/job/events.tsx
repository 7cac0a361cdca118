// The events of a job as the log has them: who did what, and each event's leaf in the audit tree. The data of an event
// can be read only if the event arrived while this page was open.

import { dayAndTime } from "../../shared/time.ts";
import { type Column, Empty, Table } from "../../shared/ui/parts.tsx";
import type { AuditEntry, Job } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";
import { useLoaded } from "../load.ts";
import { Shown } from "../shown.tsx";
import { actorName } from "./timeline.tsx";

export function EventsTab({ console, job }: { console: Console; job: Job }) {
  const query = { zone: job.zone, entity: "job", id: job.id };
  const loaded = useLoaded(() => console.api.list("GET /v1/audit", { query, limit: 200 }), [job.id, job.version]);
  const live = console.log.events.value.filter(({ data }) => (data?.job?.id ?? data?.offer?.job?.id) === job.id);
  const columns: Column<AuditEntry>[] = [
    { name: "seq", head: "seq", number: true, cell: (row) => row.seq },
    { name: "at", head: tc("events.at"), cell: (row) => dayAndTime(row.at) },
    { name: "action", head: tc("events.action"), cell: (row) => <code>{row.action}</code> },
    { name: "actor", head: tc("events.actor"), cell: (row) => actorName(console, row.actor) },
    {
      name: "leaf",
      head: tc("events.leaf"),
      cell: (row) => <code title={row.leaf ?? ""}>{row.leaf?.slice(0, 16) ?? "–"}</code>,
    },
  ];
  return (
    <div class="stack">
      {live.map((push) => (
        <details key={`${push.zone} ${push.seq}`} class="raw">
          <summary>
            <code>{push.seq} {push.type}</code>
          </summary>
          <pre tabIndex={0}>{JSON.stringify(push, null, 2)}</pre>
        </details>
      ))}
      <Shown loaded={loaded}>
        {(entries) =>
          entries.length
            ? <Table caption={tc("tab.events")} columns={columns} rows={entries} keyOf={(row) => String(row.seq)} />
            : <Empty icon="activity" title={tc("events.none")}>{tc("events.none_text")}</Empty>}
      </Shown>
    </div>
  );
}
