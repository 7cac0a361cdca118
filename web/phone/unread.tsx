// How many messages of a job's chat the user has not read yet.

import { t } from "../shared/i18n/i18n.ts";
import type { Job } from "../shared/schema.ts";
import type { PhoneApp } from "./app.ts";

export function Unread({ app, job }: { app: PhoneApp; job: Job }) {
  const n = (job.room && app.unread.value.get(job.room)) || 0;
  if (!n) return null;
  return <span class="unread number" role="img" aria-label={t("chat.unread", { n })}>{n}</span>;
}
