// The first page: what is under way, the services as tiles, and what was booked before.

import { useEffect, useState } from "preact/hooks";
import { known, t } from "../shared/i18n/i18n.ts";
import { money } from "../shared/money.ts";
import type { Job } from "../shared/schema.ts";
import { dayAndTime } from "../shared/time.ts";
import { Chip, Empty, Note, Spinner } from "../shared/ui/parts.tsx";
import { Icon, iconOfService } from "../shared/ui/icons.tsx";
import type { PhoneApp } from "../phone/app.ts";
import { sentenceOf, serviceName, services } from "../phone/blueprints.ts";
import { priceOf } from "../phone/price.tsx";
import { PushSwitch } from "../phone/push_switch.tsx";
import { Unread } from "../phone/unread.tsx";

export function Home({ app }: { app: PhoneApp }) {
  const offered = [...services.value.values()].filter((service) => service.active)
    .sort((one, other) => one.category.localeCompare(other.category) || one.name.localeCompare(other.name));
  const jobs = app.liveJobs.value;
  return (
    <>
      <Announcements app={app} />
      {jobs.length > 0 && (
        <section class="stack" aria-label={t("book.under_way")}>
          <h2>{t("book.under_way")}</h2>
          <ul class="list">
            {jobs.map((job) => (
              <li key={job.id}>
                <JobLine app={app} job={job} />
              </li>
            ))}
          </ul>
        </section>
      )}
      <section class="stack" aria-label={t("book.what")}>
        <h1>{t("book.what")}</h1>
        {!app.loaded.value && !offered.length
          ? <Spinner label={t("book.loading")} />
          : !offered.length
          ? <Empty icon="wrench" title={t("book.no_services")}>{t("book.no_services_text")}</Empty>
          : (
            <ul class="services">
              {offered.map((service) => (
                <li key={service.id}>
                  <a href={`/book/new/${service.id}`}>
                    <Icon name={iconOfService(service)} size={24} />
                    <strong>{service.name}</strong>
                    <span class="small soft">{service.category}</span>
                    <span class="number">{priceOf({ ...service, amount: service.base_amount })}</span>
                  </a>
                </li>
              ))}
            </ul>
          )}
      </section>
      <Before app={app} />
      <PushSwitch app={app} />
    </>
  );
}

/** One job in a list, as a link to its page. */
export function JobLine({ app, job }: { app: PhoneApp; job: Job }) {
  return (
    <a href={`/book/jobs/${job.id}`}>
      <span class="grow">
        <strong>{serviceName(job)}</strong>
        <br />
        <span class="small soft">{sentenceOf(job)}</span>
      </span>
      <Unread app={app} job={job} />
      <Chip state={job.frozen ? "danger" : job.phase}>{job.frozen ? t("job.frozen") : known("phase", job.phase)}</Chip>
    </a>
  );
}

/** What the business announces: that it is closed today, or a promotion. */
function Announcements({ app }: { app: PhoneApp }) {
  return (
    <>
      {app.announcements.value.map(({ type, data }) => {
        const closed = type === "business.status" && data.open === false;
        const text = [data.title, data.text ?? data.message].filter(Boolean).join(": ");
        const words = text || (type === "business.status" ? t(closed ? "book.closed" : "book.opened") : "");
        return words && <Note key={type} kind={closed ? "warning" : "info"}>{words}</Note>;
      })}
    </>
  );
}

function Before({ app }: { app: PhoneApp }) {
  const [jobs, setJobs] = useState<Job[]>([]);
  useEffect(() => {
    void app.api.call("GET /v1/jobs", { query: { limit: 30 } }).then(({ items }) => setJobs(items as Job[])).catch(
      () => {},
    );
  }, [app.liveJobs.value.length]);
  const over = jobs.filter((job) => job.phase === "done" || job.phase === "closed").slice(0, 10);
  if (!over.length) return null;
  return (
    <section class="stack" aria-label={t("book.before")}>
      <h2>{t("book.before")}</h2>
      <ul class="list">
        {over.map((job) => (
          <li key={job.id}>
            <a href={`/book/jobs/${job.id}`}>
              <span class="grow">
                <strong>{serviceName(job)}</strong>
                <br />
                <span class="small soft">{job.created_at && dayAndTime(job.created_at)} · {sentenceOf(job)}</span>
              </span>
              <span class="number">{money(job.amount, job.currency)}</span>
            </a>
          </li>
        ))}
      </ul>
    </section>
  );
}
