// The payments of a job.

import { money } from "../../shared/money.ts";
import { dayAndTime } from "../../shared/time.ts";
import { Chip, type ChipState, type Column, Empty, Table } from "../../shared/ui/parts.tsx";
import type { Job, Payment } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { tc, word } from "../i18n/texts.ts";
import { useLoaded } from "../load.ts";
import { Shown } from "../shown.tsx";

const STATES: Record<string, ChipState> = {
  captured: "done",
  failed: "danger",
  requested: "open",
  authorized: "assigned",
};

export function PaymentsTab({ console, job }: { console: Console; job: Job }) {
  const loaded = useLoaded(() => console.api.list("GET /v1/jobs/{id}/payments", { params: { id: job.id } }), [
    job.id,
    job.version,
  ]);
  const columns: Column<Payment>[] = [
    { name: "kind", head: tc("pay.kind"), cell: (row) => word("pay_kind", row.kind ?? "charge") },
    {
      name: "status",
      head: tc("jobs.status"),
      cell: (row) => <Chip state={STATES[row.status] ?? "closed"}>{word("pay_status", row.status)}</Chip>,
    },
    { name: "amount", head: tc("jobs.amount"), number: true, cell: (row) => money(row.amount, row.currency) },
    { name: "reference", head: tc("job.reference"), cell: (row) => <code>{row.reference ?? row.id}</code> },
    { name: "at", head: tc("jobs.created"), cell: (row) => row.created_at && dayAndTime(row.created_at) },
  ];
  return (
    <Shown loaded={loaded}>
      {(payments) =>
        payments.length
          ? <Table caption={tc("tab.payments")} columns={columns} rows={payments} keyOf={(row) => row.id} />
          : <Empty icon="chart" title={tc("pay.none")}>{tc("pay.none_text")}</Empty>}
    </Shown>
  );
}
