// The live page of one job: a sentence, the map, and what the customer may do now.

import { useEffect, useState } from "preact/hooks";
import { CalloutError } from "../shared/api.ts";
import { t } from "../shared/i18n/i18n.ts";
import type { Job } from "../shared/schema.ts";
import { ago, dayAndTime, distance, duration, timeOfDay } from "../shared/time.ts";
import { Card, Chip, Empty, ErrorNote, LinkButton, Note, Spinner } from "../shared/ui/parts.tsx";
import { known } from "../shared/i18n/i18n.ts";
import { metresBetween } from "../phone/geo.ts";
import type { PhoneApp } from "../phone/app.ts";
import { sentenceOf, serviceName, stateOf } from "../phone/blueprints.ts";
import { Chat } from "../phone/chat.tsx";
import { JobMap } from "../phone/job_map.tsx";
import { Photos } from "../phone/photos.tsx";
import { Price, priceOf } from "../phone/price.tsx";
import { PushSwitch } from "../phone/push_switch.tsx";
import { Stars } from "../phone/stars.tsx";
import { NextStep, OtherSteps } from "../phone/steps.tsx";
import { Bids } from "./bids.tsx";
import { Bill } from "./bill.tsx";
import { Code, Facts, isLive, Person, Timer, Waiting } from "./job_parts.tsx";
import { ShareLinks } from "./share.tsx";
import { Sign } from "./sign.tsx";

export function JobPage({ app, id }: { app: PhoneApp; id: string }) {
  const [error, setError] = useState<CalloutError | null>(null);
  const job = app.jobs.value.get(id);
  const load = () => void app.load(id).then(() => setError(null), (refusal) => setError(refusal));
  useEffect(load, [id]);
  useEffect(() => {
    if (job?.technician && isLive(job)) void app.positions.load(id).catch(() => {});
  }, [id, job?.technician?.id, job?.status]);
  if (!job && error?.code === "not_found") {
    return (
      <Empty
        icon="search"
        title={t("job.not_found")}
        action={<LinkButton href="/book">{t("action.back")}</LinkButton>}
      />
    );
  }
  if (!job) return error ? <ErrorNote error={error} retry={load} /> : <Spinner label={t("book.loading")} />;
  return <Live app={app} job={job} />;
}

/** Below this distance in metres the page says that the technician is very near, instead of the distance. */
const ALMOST_M = 80;

function Live({ app, job }: { app: PhoneApp; job: Job }) {
  const marker = app.moved.value >= 0 && isLive(job) ? shownPosition(app, job) : null;
  const search = job.technician ? undefined : app.searches.value.get(job.id);
  const radius = stateOf(job)?.seeks && stateOf(job)?.seeks !== "none" && !job.technician ? search?.radius_m ?? 0 : 0;
  return (
    <>
      {isLive(job) && (
        <div class="map-frame">
          <JobMap label={t("job.map")} place={[job.lon, job.lat]} marker={marker} radius={radius ?? 0} />
        </div>
      )}
      <header class="lead">
        <div class="row">
          <Chip state={job.frozen ? "danger" : job.phase}>
            {job.frozen ? t("job.frozen") : known("phase", job.phase)}
          </Chip>
          <span class="soft small grow">{serviceName(job)}</span>
          <span class="number small">{priceOf(job)}</span>
        </div>
        <h1 aria-live="polite">{headline(app, job)}</h1>
        {headline(app, job) !== sentenceOf(job) && <p class="soft">{sentenceOf(job)}</p>}
        {marker && <MarkerAge marker={marker} />}
        {job.promise && job.phase === "assigned" && (
          <p class="soft">{t("job.promise", { time: timeOfDay(job.promise) })}</p>
        )}
        {job.scheduled_for && isLive(job) && (
          <p class="soft">{t("job.scheduled", { time: dayAndTime(job.scheduled_for) })}</p>
        )}
      </header>
      {job.frozen && <Note kind="warning">{t("job.frozen_text")}</Note>}
      <Code job={job} />
      <Timer job={job} />
      <Waiting job={job} />
      {(job.actions ?? []).includes("sign") && <Sign app={app} job={job} />}
      <NextStep app={app} job={job} />
      {stateOf(job)?.seeks === "bids" && <Bids app={app} job={job} />}
      {job.phase === "done" && job.technician && <Stars app={app} job={job} name={job.technician.name ?? ""} />}
      {job.technician && <Person job={job} />}
      <Price app={app} job={job} />
      {job.room && (
        <Card title={t("chat.title")}>
          <Chat app={app} room={job.room} />
        </Card>
      )}
      <Photos
        app={app}
        job={job}
        canAdd={(job.phase === "assigned" || job.phase === "active") && !job.asked && !job.signed && !job.frozen}
      />
      {!isLive(job) && <Bill job={job} />}
      {isLive(job) && <PushSwitch app={app} invite />}
      {isLive(job) && <ShareLinks app={app} job={job} />}
      <Card title={t("job.booking")}>
        <Facts job={job} />
      </Card>
      <OtherSteps app={app} job={job} />
      {!isLive(job) && <LinkButton wide href="/book">{t("book.again")}</LinkButton>}
    </>
  );
}

/** The position of the technician. A position that was measured before the job got into its present state is not shown.
 */
function shownPosition(app: PhoneApp, job: Job) {
  const position = app.positions.latest(job.id);
  const entered = Date.parse(job.at?.[job.status] ?? "");
  return position && !(position.stale && Date.parse(position.at) < entered) ? position : null;
}

/** The sentence at the top: the blueprint's text for the job's state, or a more exact text, for example with the
 * distance, if the page knows more. */
function headline(app: PhoneApp, job: Job): string {
  const state = stateOf(job);
  const search = app.searches.value.get(job.id);
  if (state?.seeks === "broadcast" && !job.technician && search && search.asked > 0) {
    const near = search.radius_m
      ? t("job.asking_near", { distance: distance(search.radius_m) })
      : t("job.asking_everywhere");
    return t("job.asking", { n: search.asked, where: near });
  }
  const position = shownPosition(app, job);
  if (position && !position.stale && position.eta_s !== undefined && isLive(job)) {
    if (position.eta_s === 0) return t("job.there");
    const metres = metresBetween([job.lat, job.lon], [position.lat, position.lon]);
    if (metres < ALMOST_M) return t("job.almost");
    return t("job.away", { distance: distance(metres), duration: duration(position.eta_s) });
  }
  return sentenceOf(job);
}

function MarkerAge({ marker }: { marker: { at: string; stale: boolean } }) {
  return (
    <p class="soft small" data-stale={marker.stale || undefined}>
      {t(marker.stale ? "job.position_stale" : "job.position", { ago: ago(marker.at) })}
    </p>
  );
}
