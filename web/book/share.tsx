// Links with which somebody without an account follows the job.

import { useEffect, useState } from "preact/hooks";
import { t } from "../shared/i18n/i18n.ts";
import type { Job, Share } from "../shared/schema.ts";
import { timeOfDay } from "../shared/time.ts";
import { Button, Card, ErrorNote } from "../shared/ui/parts.tsx";
import { toast } from "../shared/ui/toast.tsx";
import type { PhoneApp } from "../phone/app.ts";
import { useWork } from "../phone/steps.tsx";

const MAX_OPEN = 5;

export function ShareLinks({ app, job }: { app: PhoneApp; job: Job }) {
  const [links, setLinks] = useState<Share[]>([]);
  const { busy, error, run } = useWork();
  const load = async () => setLinks((await app.api.call("GET /v1/jobs/{id}/shares", { params: { id: job.id } })).items);
  useEffect(() => void load().catch(() => {}), [job.id]);
  const create = () =>
    run(async () => {
      const { share } = await app.outbox.send("POST", `/v1/jobs/${job.id}/shares`, {}, { what: "share", job: job.id });
      setLinks([...links, share]);
      await give(share);
    });
  const give = async (link: Share) => {
    const url = new URL(link.url, location.href).href;
    try {
      if (navigator.share && matchMedia("(pointer: coarse)").matches) {
        return await navigator.share({ title: t("app.name"), url });
      }
      await navigator.clipboard.writeText(url);
      toast(t("share.copied"));
    } catch {
      // The person closed the browser's share dialog, or the browser allows neither sharing nor copying. The page shows
      // the address in both cases.
    }
  };
  const close = (link: Share) =>
    run(async () => {
      await app.api.call("DELETE /v1/jobs/{id}/shares/{share}", { params: { id: job.id, share: link.id }, body: {} });
      setLinks(links.filter((each) => each.id !== link.id));
    });
  return (
    <Card title={t("share.title")}>
      <div class="stack">
        <p class="soft small">{t("share.text")}</p>
        <ul class="list">
          {links.map((link) => (
            <li key={link.id}>
              <div class="line">
                <a class="grow link-address" href={link.url} target="_blank" rel="noreferrer">
                  {new URL(link.url, location.href).href}
                </a>
                <Button onClick={() => void give(link)}>{t("share.give")}</Button>
                <Button
                  busy={busy}
                  onClick={() => void close(link)}
                  aria-label={t("share.end_until", {
                    time: timeOfDay(link.expires_at),
                  })}
                >
                  {t("share.end")}
                </Button>
              </div>
            </li>
          ))}
        </ul>
        {links.length < MAX_OPEN && <Button icon="people" busy={busy} onClick={create}>{t("share.create")}</Button>}
        <ErrorNote error={error} />
      </div>
    </Card>
  );
}
