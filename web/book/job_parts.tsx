// The parts of a job's live page: its code, the running time, the technician, and what was booked.

import { t } from "../shared/i18n/i18n.ts";
import { money } from "../shared/money.ts";
import type { Job } from "../shared/schema.ts";
import { clock, dayAndTime, serverNow } from "../shared/time.ts";
import { Avatar, Card, Note } from "../shared/ui/parts.tsx";
import { codeNeeded } from "../phone/blueprints.ts";
import { priceOf } from "../phone/price.tsx";

export const isLive = (job: Job) => job.phase !== "done" && job.phase !== "closed";

/** The code that the technician needs next, large enough to be read out at the door. */
export function Code({ job }: { job: Job }) {
  const purpose = codeNeeded(job);
  const code = purpose && job.codes?.[purpose];
  if (!code) return null;
  return (
    <Card>
      <div class="code-shown">
        <span class="soft">{t(purpose === "start" ? "job.code_start" : "job.code_completion")}</span>
        <output aria-label={code.split("").join(" ")}>{code}</output>
        <span class="soft small">{t("job.code_hint")}</span>
      </div>
    </Card>
  );
}

/** The cost so far of work that is paid by the hour. Each hour that has begun counts as a whole hour. */
export function Timer({ job }: { job: Job }) {
  const began = job.at?.[job.status];
  const isWork = job.pricing === "hourly" && job.phase === "active" && began && codeNeeded(job) !== "start";
  if (!isWork || !clock.value) return null;
  const seconds = Math.max(0, (serverNow() - Date.parse(began)) / 1000);
  const hours = Math.max(1, Math.ceil(seconds / 3600));
  const parts = [seconds / 3600, (seconds / 60) % 60, seconds % 60].map((part) =>
    String(Math.floor(part)).padStart(2, "0")
  );
  return (
    <Card>
      <div class="code-shown">
        <span class="soft">{t("job.running")}</span>
        <output role="timer">{parts.join(":")}</output>
        <span class="soft small">{t("job.so_far", { amount: money(hours * job.amount, job.currency), n: hours })}</span>
      </div>
    </Card>
  );
}

export function Waiting({ job }: { job: Job }) {
  const isConfirmed = job.at?.confirmed !== undefined || job.signed;
  if (!isConfirmed || !isLive(job)) return null;
  return <Note>{t("job.waiting_payment")}</Note>;
}

export function Person({ job }: { job: Job }) {
  const { name = "", rating, phone } = job.technician!;
  return (
    <Card>
      <div class="row">
        <Avatar name={name} />
        <span class="grow">
          <strong>{name}</strong>
          {rating !== undefined && rating !== null && <span class="small soft number">&nbsp;★ {rating.toFixed(1)}
          </span>}
        </span>
        {phone && <a class="button" href={`tel:${phone}`}>{t("job.call")}</a>}
      </div>
    </Card>
  );
}

export function Facts({ job }: { job: Job }) {
  const facts: [string, string | null | undefined][] = [
    [t("job.address"), job.address],
    [t("job.notes"), job.notes],
    [t("job.price"), priceOf(job)],
    [t("job.booked_at"), job.created_at && dayAndTime(job.created_at)],
  ];
  return (
    <dl class="facts">
      {facts.filter(([, value]) => value).map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}
