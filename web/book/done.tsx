// After the work: the bill, and stars for who did it.

import { useState } from "preact/hooks";
import { t } from "../shared/i18n/i18n.ts";
import { money } from "../shared/money.ts";
import { readStored, store } from "../shared/platform.ts";
import type { Job } from "../shared/schema.ts";
import { dayAndTime, duration } from "../shared/time.ts";
import { Button, Card, ErrorNote, Field } from "../shared/ui/parts.tsx";
import { Icon } from "../shared/ui/icons.tsx";
import type { PhoneApp } from "../phone/app.ts";
import { serviceName } from "../phone/blueprints.ts";
import { useWork } from "../phone/steps.tsx";

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

export function Stars({ app, job }: { app: PhoneApp; job: Job }) {
  const name = `rated.${job.id}`;
  const [stars, setStars] = useState(Number(readStored(name) ?? 0));
  const [isRated, setRated] = useState(readStored(name) !== null);
  const { busy, error, run } = useWork();
  if (!job.technician) return null;
  const rate = async (event: SubmitEvent) => {
    event.preventDefault();
    const comment = String(new FormData(event.target as HTMLFormElement).get("comment") ?? "").trim();
    const body = { stars, ...(comment ? { comment } : {}) };
    const path = `/v1/jobs/${job.id}/ratings`;
    const done = await run(() =>
      app.outbox.send("POST", path, body, { what: "rate", job: job.id }).catch((refusal) => {
        if (refusal.code !== "duplicate") throw refusal;
      })
    );
    if (!done) return;
    store(name, String(stars));
    setRated(true);
  };
  return (
    <Card title={t("stars.title", { name: job.technician.name ?? "" })}>
      <form class="stack" onSubmit={rate}>
        <div class="stars" role="radiogroup" aria-label={t("stars.label")}>
          {[1, 2, 3, 4, 5].map((n) => (
            <label key={n} data-on={n <= stars || undefined}>
              <input
                class="sr-only"
                type="radio"
                name="stars"
                value={n}
                checked={n === stars}
                disabled={isRated}
                aria-label={t("stars.n", { n })}
                onChange={() => setStars(n)}
              />
              <Icon name="star" size={30} />
            </label>
          ))}
        </div>
        {isRated ? <p role="status">{t("stars.thanks")}</p> : (
          <>
            <Field label={t("stars.comment")}>
              {(a) => <textarea {...a} name="comment" rows={2} maxLength={2000} />}
            </Field>
            <ErrorNote error={error} />
            <Button type="submit" kind="main" wide disabled={!stars} busy={busy}>{t("stars.send")}</Button>
          </>
        )}
      </form>
    </Card>
  );
}
