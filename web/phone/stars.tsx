// The rating, in stars, of the other side of a job that is done.

import { useState } from "preact/hooks";
import { t } from "../shared/i18n/i18n.ts";
import { readStored, store } from "../shared/platform.ts";
import type { Job } from "../shared/schema.ts";
import { Button, Card, ErrorNote, Field } from "../shared/ui/parts.tsx";
import { Icon } from "../shared/ui/icons.tsx";
import type { PhoneApp } from "./app.ts";
import { useWork } from "./steps.tsx";

/** Ask the user once to rate `name` with stars. */
export function Stars({ app, job, name: whose }: { app: PhoneApp; job: Job; name: string }) {
  const name = `rated.${job.id}`;
  const [stars, setStars] = useState(Number(readStored(name) ?? 0));
  const [isRated, setRated] = useState(readStored(name) !== null);
  const { busy, error, run } = useWork();
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
    <Card title={t("stars.title", { name: whose })}>
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
