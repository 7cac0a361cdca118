// What the technician has earned: the amount that is available, the amount that will be, and each change.

import { useEffect, useState } from "preact/hooks";
import { CalloutError } from "../shared/api.ts";
import { known, t } from "../shared/i18n/i18n.ts";
import { money } from "../shared/money.ts";
import type { EarningsReply } from "../shared/schema.ts";
import { dayAndTime } from "../shared/time.ts";
import { Empty, ErrorNote, LinkButton, Spinner, Tile } from "../shared/ui/parts.tsx";
import type { PhoneApp } from "../phone/app.ts";

export function Earnings({ app }: { app: PhoneApp }) {
  const [earnings, setEarnings] = useState<EarningsReply | null>(null);
  const [error, setError] = useState<CalloutError | null>(null);
  const load = () =>
    void app.api.call("GET /v1/technicians/{id}/earnings", { params: { id: app.me.id }, query: { limit: 100 } })
      .then(setEarnings, setError);
  useEffect(load, []);
  return (
    <>
      <header class="lead">
        <h1>{t("tech.earnings")}</h1>
      </header>
      <ErrorNote error={error} retry={load} />
      {!earnings && !error && <Spinner label={t("book.loading")} />}
      {earnings?.balance.map((balance) => (
        <div class="tiles" key={balance.currency}>
          <Tile label={t("earnings.available")} value={money(balance.available, balance.currency)} />
          <Tile label={t("earnings.pending")} value={money(balance.pending, balance.currency)} />
          <Tile label={t("earnings.paid_out")} value={money(balance.paid_out, balance.currency)} />
        </div>
      ))}
      {earnings && !earnings.items.length && (
        <Empty icon="chart" title={t("earnings.none")}>{t("earnings.none_text")}</Empty>
      )}
      <ul class="list">
        {earnings?.items.map((item) => (
          <li key={`${item.zone}.${item.seq}`}>
            <div class="line">
              <span class="grow">
                <strong>{known("earning", item.kind)}</strong>
                <br />
                <span class="small soft">{dayAndTime(item.at)}</span>
              </span>
              <span class="number">{money(item.amount, item.currency)}</span>
            </div>
          </li>
        ))}
      </ul>
      <LinkButton href="/tech">{t("action.back")}</LinkButton>
    </>
  );
}
