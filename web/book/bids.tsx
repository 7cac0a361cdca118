// The bids for a job: each bidder names a price, and the customer accepts one bid.

import { useEffect, useState } from "preact/hooks";
import { t } from "../shared/i18n/i18n.ts";
import { money } from "../shared/money.ts";
import type { Bid, Job } from "../shared/schema.ts";
import { Button, Card, Empty, ErrorNote } from "../shared/ui/parts.tsx";
import type { PhoneApp } from "../phone/app.ts";
import { useWork } from "../phone/steps.tsx";

export function Bids({ app, job }: { app: PhoneApp; job: Job }) {
  const [bids, setBids] = useState<Bid[]>([]);
  const { busy, error, run } = useWork();
  const changes = app.bidsChanged.value.get(job.id) ?? 0;
  useEffect(() => {
    void app.api.call("GET /v1/jobs/{id}/bids", { params: { id: job.id } }).then(({ items }) => setBids(items))
      .catch(() => {});
  }, [job.id, changes, job.version, app.live.status.value]);
  const open = bids.filter((bid) => bid.status === "open")
    .sort((one, other) => (one.amount ?? job.amount) - (other.amount ?? job.amount));
  const take = (bid: Bid) =>
    run(async () => {
      const path = `/v1/jobs/${job.id}/bids/${bid.id}/accept`;
      const reply = await app.outbox.send("POST", path, {}, { what: "award", job: job.id });
      app.take(reply?.job);
    });
  return (
    <Card title={open.length ? t("bids.title", { n: open.length }) : t("bids.all")}>
      <div class="stack" aria-live="polite">
        {!open.length && <Empty icon="clock" title={t("bids.none")}>{t("bids.none_text")}</Empty>}
        <ul class="list">
          {open.map((bid) => (
            <li key={bid.id}>
              <div class="line">
                <span class="grow">
                  <strong>{bid.technician.name}</strong>
                  {typeof bid.technician.rating === "number" && (
                    <span class="small soft number">&nbsp;★ {bid.technician.rating.toFixed(1)}</span>
                  )}
                  {bid.note && <span class="small soft bid-note">{bid.note}</span>}
                </span>
                <strong class="number">{money(bid.amount ?? job.amount, job.currency)}</strong>
                <Button kind="main" busy={busy} onClick={() => void take(bid)}>{t("bids.take")}</Button>
              </div>
            </li>
          ))}
        </ul>
        <ErrorNote error={error} />
      </div>
    </Card>
  );
}
