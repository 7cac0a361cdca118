// The technician's page of a job: the map, the next step as one button, the chat, and the facts about the customer.

import { useEffect, useMemo, useState } from "preact/hooks";
import { CalloutError } from "../shared/api.ts";
import { known, t } from "../shared/i18n/i18n.ts";
import { meta } from "../shared/meta.ts";
import type { Job } from "../shared/schema.ts";
import { dayAndTime, distance, timeOfDay } from "../shared/time.ts";
import { Avatar, Button, Card, Chip, Empty, ErrorNote, LinkButton, Note, Spinner } from "../shared/ui/parts.tsx";
import type { PhoneApp } from "../phone/app.ts";
import { blockedStep, commandLabel, nextStep, serviceName } from "../phone/blueprints.ts";
import { Chat } from "../phone/chat.tsx";
import { metresBetween } from "../phone/geo.ts";
import { JobMap } from "../phone/job_map.tsx";
import { Photos } from "../phone/photos.tsx";
import { Price, priceOf } from "../phone/price.tsx";
import { Stars } from "../phone/stars.tsx";
import { NextStep, OtherSteps } from "../phone/steps.tsx";
import { Drive } from "./drive.ts";
import type { OwnPlace } from "./place.ts";
import { useWakeLock } from "./wake_lock.ts";

const isOver = (job: Job) => job.phase === "done" || job.phase === "closed";

export function Work({ app, place, id }: { app: PhoneApp; place: OwnPlace; id: string }) {
  const [error, setError] = useState<CalloutError | null>(null);
  const load = () => void app.load(id).then(() => setError(null), setError);
  useEffect(load, [id]);
  useEffect(() => place.startWatch(), []);
  const job = app.jobs.value.get(id);
  if (!job && error?.code === "not_found") {
    return (
      <Empty
        icon="search"
        title={t("job.not_found")}
        action={<LinkButton href="/tech">{t("action.back")}</LinkButton>}
      />
    );
  }
  if (!job) return error ? <ErrorNote error={error} retry={load} /> : <Spinner label={t("book.loading")} />;
  return <OnJob app={app} place={place} job={job} />;
}

/** The sentence at the top, for the technician: the texts of the blueprint's states are written for the customer. */
function headline(job: Job, mine: boolean): string {
  if (isOver(job)) return t(job.phase === "done" ? "tech.done" : "tech.over");
  if (!mine) return t("tech.not_yours");
  if (job.frozen) return t("job.frozen");
  if (job.phase === "assigned") return t("tech.yours");
  const step = nextStep(job) ?? blockedStep(job);
  return t(step ? "tech.at_work" : "tech.waits_for_customer"); // the button below names the step
}

function OnJob({ app, place, job }: { app: PhoneApp; place: OwnPlace; job: Job }) {
  const mine = job.technician?.id === app.me.id && !job.asked;
  const here = place.here.value;
  useWakeLock(mine && !isOver(job));
  return (
    <>
      {!isOver(job) && (
        <div class="map-frame">
          <JobMap
            label={t("job.map")}
            place={[job.lon, job.lat]}
            marker={here && { lat: here.lat, lon: here.lon, stale: false }}
          />
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
        <h1 aria-live="polite">{headline(job, mine)}</h1>
        {here && !isOver(job) && (
          <p class="soft">
            {t("tech.to_go", { distance: distance(metresBetween([here.lat, here.lon], [job.lat, job.lon])) })}
          </p>
        )}
        {job.promise && job.phase === "assigned" && (
          <p class="soft">{t("tech.promise", { time: timeOfDay(job.promise) })}</p>
        )}
        {job.scheduled_for && <p class="soft">{t("job.scheduled", { time: dayAndTime(job.scheduled_for) })}</p>}
      </header>
      {job.frozen && <Note kind="warning">{t("job.frozen_text")}</Note>}
      <NextStep app={app} job={job} />
      {mine && <Blocked job={job} />}
      {mine && !isOver(job) && <Way app={app} place={place} job={job} />}
      {mine && job.phase === "done" && job.customer && <Stars app={app} job={job} name={job.customer.name ?? ""} />}
      {job.customer && <Customer job={job} />}
      <Photos
        app={app}
        job={job}
        canAdd={mine && (job.phase === "assigned" || job.phase === "active") && !job.signed && !job.frozen}
      />
      <Price app={app} job={job} />
      {job.room && (
        <Card title={t("chat.title")}>
          <Chat app={app} room={job.room} />
        </Card>
      )}
      <OtherSteps app={app} job={job} />
      {isOver(job) && <LinkButton wide kind="main" href="/tech">{t("tech.back_to_waiting")}</LinkButton>}
    </>
  );
}

/** Why the next step of the blueprint is not possible yet: photos are missing, or it is too early. */
function Blocked({ job }: { job: Job }) {
  const name = blockedStep(job);
  if (!name) return null;
  const isEarly = job.scheduled_for && Date.parse(job.scheduled_for) > Date.now() + 3_600_000;
  return <Note>{t(isEarly ? "tech.too_early" : "tech.photos_first", { step: commandLabel(name) })}</Note>;
}

function Customer({ job }: { job: Job }) {
  const { name = "", phone } = job.customer!;
  return (
    <Card>
      <div class="stack">
        <div class="row">
          <Avatar name={name} />
          <strong class="grow">{name}</strong>
          {phone && <a class="button" href={`tel:${phone}`}>{t("job.call")}</a>}
        </div>
        <dl class="facts">
          {job.address && (
            <div>
              <dt>{t("job.address")}</dt>
              <dd>{job.address}</dd>
            </div>
          )}
          {job.notes && (
            <div>
              <dt>{t("job.notes")}</dt>
              <dd>{job.notes}</dd>
            </div>
          )}
        </dl>
      </div>
    </Card>
  );
}

/** How to get to the job: the phone's own navigation and, in a demo, a drive through the town. */
function Way({ app, place, job }: { app: PhoneApp; place: OwnPlace; job: Job }) {
  const isDemo = meta.value?.demo ?? false;
  const drive = useMemo(() => new Drive(place), [place]);
  useEffect(() => () => drive.stop(), [drive]);
  const left = drive.left.value;
  return (
    <div class="row">
      <LinkButton icon="map" href={`geo:${job.lat},${job.lon}?q=${job.lat},${job.lon}`}>
        {t("tech.navigate")}
      </LinkButton>
      {isDemo && (
        <Button
          disabled={!place.here.value || !app.technician.value?.online}
          aria-pressed={left !== null}
          onClick={() => left === null ? void drive.start(job) : drive.stop()}
        >
          {left === null ? t("tech.drive") : t("tech.driving", { distance: distance(left) })}
        </Button>
      )}
    </div>
  );
}
