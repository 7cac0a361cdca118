// The facts of a job.

import type { ComponentChildren } from "preact";
import { money } from "../../shared/money.ts";
import { dayAndTime, duration } from "../../shared/time.ts";
import { Card } from "../../shared/ui/parts.tsx";
import type { Job } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";
import { personPath } from "../nav.ts";

export function Facts({ console, job }: { console: Console; job: Job }) {
  const { technician, customer } = job;
  const price = money(job.amount, job.currency) + (job.pricing === "hourly" ? ` ${tc("job.an_hour")}` : "");
  return (
    <Card title={tc("job.facts")}>
      <dl class="facts">
        <Fact name={tc("job.blueprint")}>{console.blueprints.title(job.blueprint)}</Fact>
        <Fact name={tc("jobs.customer")}>
          {customer?.name ?? customer?.id}
          {customer?.phone && <a class="phone" href={`tel:${customer.phone}`}>{customer.phone}</a>}
        </Fact>
        <Fact name={tc("jobs.technician")}>
          {technician
            ? <a href={personPath(technician.id)}>{technician.name || console.people.name(technician.id)}</a>
            : <span class="soft">{tc("jobs.nobody")}</span>}
          {job.asked && <span class="soft">· {tc("job.asked")}</span>}
          {technician?.phone && <a class="phone" href={`tel:${technician.phone}`}>{technician.phone}</a>}
        </Fact>
        <Fact name={tc("jobs.address")}>{[job.address, job.postal_code].filter(Boolean).join(", ")}</Fact>
        <Fact name={tc("jobs.amount")}>
          {price}
          {job.paid_amount ? ` · ${tc("job.paid", { amount: money(job.paid_amount, job.currency) })}` : ""}
          {job.refunded_amount ? ` · ${tc("job.refunded", { amount: money(job.refunded_amount, job.currency) })}` : ""}
        </Fact>
        {job.scheduled_for && <Fact name={tc("job.scheduled")}>{dayAndTime(job.scheduled_for)}</Fact>}
        {job.duration_min && <Fact name={tc("job.duration")}>{duration(job.duration_min * 60)}</Fact>}
        {job.promise && <Fact name={tc("job.promise")}>{dayAndTime(job.promise)}</Fact>}
        {job.expires_at && <Fact name={tc("job.expires")}>{dayAndTime(job.expires_at)}</Fact>}
        {job.notes && <Fact name={tc("job.notes")}>{job.notes}</Fact>}
        {job.public_notes && <Fact name={tc("job.public_notes")}>{job.public_notes}</Fact>}
        {job.reference && <Fact name={tc("job.reference")}>{job.reference}</Fact>}
        <Fact name={tc("job.id")}>
          <code>{job.id}</code>
        </Fact>
        <Fact name={tc("job.version")}>
          <span class="number">{job.version}</span>
        </Fact>
      </dl>
    </Card>
  );
}

function Fact({ name, children }: { name: string; children: ComponentChildren }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd>{children}</dd>
    </div>
  );
}
