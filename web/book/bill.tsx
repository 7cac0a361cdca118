// The bill, which the customer sees after the work.

import { t } from "../shared/i18n/i18n.ts";
import { money } from "../shared/money.ts";
import type { Job } from "../shared/schema.ts";
import { dayAndTime, duration } from "../shared/time.ts";
import { Card } from "../shared/ui/parts.tsx";
import { serviceName } from "../phone/blueprints.ts";

export function Bill({ job }: { job: Job }) {
  const lines = job.quote && job.quote.amount === job.amount ? job.quote.breakdown.filter((line) => line.amount) : [];
  const times = Object.values(job.at ?? {}).map((at) => Date.parse(at));
  const took = times.length > 1 ? (Math.max(...times) - Math.min(...times)) / 1000 : 0;
  const rows: [string, string][] = lines.map((line) => [line.says, money(line.amount, job.currency)]);
  if (!rows.length) rows.push([serviceName(job), money(job.amount, job.currency)]);
  if (job.paid_amount) rows.push([t("bill.paid"), money(job.paid_amount, job.currency)]);
  if (job.refunded_amount) rows.push([t("bill.refunded"), money(-job.refunded_amount, job.currency)]);
  return (
    <Card title={t("bill.title")}>
      <dl class="bill">
        {rows.map(([name, amount]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd class="number">{amount}</dd>
          </div>
        ))}
        <div class="total">
          <dt>{t("book.total")}</dt>
          <dd class="number">{money(job.amount, job.currency)}</dd>
        </div>
      </dl>
      <p class="small soft">
        {job.created_at && dayAndTime(job.created_at)}
        {took > 60 && ` · ${t("bill.took", { duration: duration(took) })}`}
        {job.signed && ` · ${t("bill.receipt", { id: job.signed.receipt })}`}
      </p>
    </Card>
  );
}
