// The technician's jobs: those in hand, and those that are booked for later.

import { known, t } from "../shared/i18n/i18n.ts";
import { dayAndTime } from "../shared/time.ts";
import { Chip } from "../shared/ui/parts.tsx";
import type { PhoneApp } from "../phone/app.ts";
import { serviceName } from "../phone/blueprints.ts";
import { Unread } from "../phone/unread.tsx";

export function Agenda({ app }: { app: PhoneApp }) {
  const jobs = app.liveJobs.value;
  if (!jobs.length) return null;
  return (
    <section class="stack" aria-label={t("tech.jobs")}>
      <h2>{t("tech.jobs")}</h2>
      <ul class="list">
        {jobs.map((job) => (
          <li key={job.id}>
            <a href={`/tech/jobs/${job.id}`}>
              <span class="grow">
                <strong>{serviceName(job)}</strong>
                <br />
                <span class="small soft">
                  {job.scheduled_for ? `${dayAndTime(job.scheduled_for)} · ` : ""}
                  {job.address ?? ""}
                </span>
              </span>
              <Unread app={app} job={job} />
              <Chip state={job.frozen ? "danger" : job.phase}>
                {job.frozen ? t("job.frozen") : known("phase", job.phase)}
              </Chip>
            </a>
          </li>
        ))}
      </ul>
    </section>
  );
}
