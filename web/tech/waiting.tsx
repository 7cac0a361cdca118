// The page of a technician who is online and waits: their place and its age, today's jobs and earnings, and why there
// are no offers.

import { useEffect, useState } from "preact/hooks";
import { known, t } from "../shared/i18n/i18n.ts";
import { money } from "../shared/money.ts";
import type { EarningsReply, Why } from "../shared/schema.ts";
import { ago } from "../shared/time.ts";
import { Button, Card, ErrorNote, LinkButton, Tile } from "../shared/ui/parts.tsx";
import type { PhoneApp } from "../phone/app.ts";
import { JobMap } from "../phone/job_map.tsx";
import { PushSwitch } from "../phone/push_switch.tsx";
import { useWork } from "../phone/steps.tsx";
import { Agenda } from "./agenda.tsx";
import type { OwnPlace } from "./place.ts";

export function Waiting({ app, place }: { app: PhoneApp; place: OwnPlace }) {
  const { busy, error, run } = useWork();
  useEffect(() => {
    place.startWatch();
    if (!place.here.peek()) void place.find();
  }, []);
  const here = place.here.value;
  const stop = () =>
    run(async () => {
      await app.api.call("PUT /v1/technicians/{id}/availability", {
        params: { id: app.me.id },
        body: { online: false },
      });
      place.stopWatch();
      await app.loadMe();
    });
  const jobs = app.liveJobs.value.length;
  return (
    <>
      {here && (
        <div class="map-frame">
          <JobMap label={t("tech.map")} marker={{ lat: here.lat, lon: here.lon, stale: false }} />
        </div>
      )}
      <header class="lead">
        <h1>{t(jobs ? "tech.online" : "tech.waiting")}</h1>
        <p class="soft">
          {here ? t("tech.place", { ago: ago(here.at), source: t(`place.${here.source}`) }) : t("tech.no_place")}
        </p>
      </header>
      <PushSwitch app={app} invite />
      <Agenda app={app} />
      <Today app={app} />
      <NoOffers app={app} />
      <nav class="row" aria-label={t("tech.more")}>
        <LinkButton href="/tech/earnings">{t("tech.earnings")}</LinkButton>
        <LinkButton href="/tech/profile">{t("tech.profile")}</LinkButton>
      </nav>
      <Button big wide busy={busy} onClick={stop}>{t("tech.go_offline")}</Button>
      <ErrorNote error={error} />
    </>
  );
}

function Today({ app }: { app: PhoneApp }) {
  const [earnings, setEarnings] = useState<EarningsReply | null>(null);
  useEffect(() => {
    const params = { id: app.me.id };
    void app.api.call("GET /v1/technicians/{id}/earnings", { params, query: { limit: 100 } }).then(setEarnings)
      .catch(() => {});
  }, [app.liveJobs.value.length]);
  if (!earnings) return null;
  const midnight = new Date().setHours(0, 0, 0, 0);
  const today = earnings.items.filter((item) => item.kind === "earned" && Date.parse(item.at) >= midnight);
  const sums = new Map<string, number>();
  for (const item of today) sums.set(item.currency, (sums.get(item.currency) ?? 0) + item.amount);
  const [[currency, sum] = [earnings.balance[0]?.currency ?? "EUR", 0]] = sums;
  return (
    <div class="tiles">
      <Tile label={t("tech.today_jobs")} value={new Set(today.map((item) => item.job)).size} />
      <Tile label={t("tech.today_earned")} value={money(sum, currency)} href="/tech/earnings" />
    </div>
  );
}

function NoOffers({ app }: { app: PhoneApp }) {
  const [why, setWhy] = useState<Why | null>(null);
  const { busy, error, run } = useWork();
  const ask = () =>
    run(async () => setWhy((await app.api.call("GET /v1/technicians/{id}/why", { params: { id: app.me.id } })).why));
  const { outcomes = {}, count = 0 } = why?.offers ?? {};
  return (
    <Card title={t("tech.why")} action={<Button busy={busy} onClick={ask}>{t("tech.why_ask")}</Button>}>
      <ErrorNote error={error} />
      {why && (
        <div class="stack" aria-live="polite">
          <p>{why.receiving ? t("tech.receiving") : t("tech.not_receiving")}</p>
          {why.blockers.length > 0 && (
            <ul>{why.blockers.map((code) => <li key={code}>{known("blocker", code)}</li>)}</ul>
          )}
          <p class="small soft">
            {t("tech.week_offers", { n: count })}
            {Object.entries(outcomes).map(([name, n]) => ` · ${known("outcome", name)} ${n}`)}
          </p>
        </div>
      )}
    </Card>
  );
}
