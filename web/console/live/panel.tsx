// The person or the job that was chosen on the map.

import { useEffect, useState } from "preact/hooks";
import { t } from "../../shared/i18n/i18n.ts";
import { money } from "../../shared/money.ts";
import { ago, clock, duration } from "../../shared/time.ts";
import { Button, Chip, IconButton, LinkButton } from "../../shared/ui/parts.tsx";
import type { MapPerson } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { isPerson } from "../data/map_feed.ts";
import { sinceOf } from "../data/needs.ts";
import { tc, word } from "../i18n/texts.ts";
import { useLoaded } from "../load.ts";
import { jobPath, personPath } from "../nav.ts";
import { Shown } from "../shown.tsx";
import { reassignTo } from "./reassign.tsx";

export function Panel({ console, id, close }: { console: Console; id: string; close: () => void }) {
  void clock.value; // the map is no signal: what is shown of it is renewed each second, and not while the page is hidden
  const thing = console.map.things.get(id);
  return (
    <div class="panel">
      <header>
        <span class="grow" />
        <IconButton icon="close" label={t("action.close")} onClick={close} />
      </header>
      {thing && isPerson(thing)
        ? <PersonPanel key={id} console={console} person={thing} />
        : <JobPanel key={id} console={console} id={id} />}
    </div>
  );
}

function PersonPanel({ console, person }: { console: Console; person: MapPerson }) {
  const [asked, setAsked] = useState(false);
  const jobs = console.jobs.all().filter((job) =>
    job.technician?.id === person.id && job.phase !== "done" && job.phase !== "closed"
  );
  return (
    <div class="stack">
      <h2>{person.name}</h2>
      <p class="row">
        <Chip state={({ free: "done", busy: "active", offline: "closed" } as const)[person.state]}>
          {tc(`person.${person.state}`)}
        </Chip>
        <span class="soft small">
          {tc("person.seen", { duration: duration((Date.now() - Date.parse(person.at)) / 1000) })}
        </span>
      </p>
      {jobs.map((job) => (
        <a key={job.id} class="line" href={jobPath(job.id)}>
          <Chip state={job.phase}>{job.status.replaceAll("_", " ")}</Chip>
          <span class="grow">{console.people.serviceName(job.service)}</span>
        </a>
      ))}
      {!jobs.length && <p class="soft">{tc("person.no_jobs")}</p>}
      <div class="row">
        <LinkButton icon="user" href={personPath(person.id)}>{tc("person.open")}</LinkButton>
        {jobs[0]?.room && <LinkButton icon="chat" href={jobPath(jobs[0].id, "chat")}>{tc("person.message")}
        </LinkButton>}
        <Button icon="alert" aria-expanded={asked} onClick={() => setAsked(!asked)}>{tc("person.why")}</Button>
      </div>
      {asked && <Why console={console} id={person.id} />}
    </div>
  );
}

/** The reasons why a technician gets no offers, in words. */
export function Why({ console, id }: { console: Console; id: string }) {
  const loaded = useLoaded(() => console.api.call("GET /v1/technicians/{id}/why", { params: { id } }), [id]);
  return (
    <Shown loaded={loaded}>
      {({ why }) => (
        <div class="stack">
          <p role="status">
            <Chip state={why.receiving ? "done" : "danger"}>
              {tc(why.receiving ? "why.receiving" : "why.not_receiving")}
            </Chip>
          </p>
          {why.blockers.map((code) => <p key={code}>{word("blocker_text", code)}</p>)}
          <p class="small soft">{tc("why.week", { n: why.offers.count })}</p>
          <p class="row">
            {Object.entries(why.offers.outcomes).map(([outcome, count]) => (
              <Chip key={outcome}>
                {word("outcome", outcome)} <span class="number">{count as number}</span>
              </Chip>
            ))}
          </p>
        </div>
      )}
    </Shown>
  );
}

function JobPanel({ console, id }: { console: Console; id: string }) {
  const job = console.jobs.byId.get(id);
  const search = console.jobs.searches.get(id);
  useEffect(() => void (job ?? console.jobs.read(id).catch(() => {})), [id]);
  if (!job) return <p class="soft">{tc("frame.loading")}</p>;
  return (
    <div class="stack">
      <h2>{console.people.serviceName(job.service)}</h2>
      <p class="row">
        <Chip state={job.frozen ? "danger" : job.phase}>
          {job.frozen ? tc("job.frozen") : job.status.replaceAll("_", " ")}
        </Chip>
        <span class="soft small number">{ago(sinceOf(job))}</span>
      </p>
      <p>{job.address}</p>
      <p class="soft">
        {[job.customer?.name, money(job.amount, job.currency), console.blueprints.title(job.blueprint)].filter(Boolean)
          .join(" · ")}
      </p>
      {search && (
        <p role="status">
          {tc("live.searching", { wave: search.wave, asked: search.asked, declined: search.declined })}
        </p>
      )}
      <p>
        {job.technician
          ? <a href={personPath(job.technician.id)}>{console.people.name(job.technician.id)}</a>
          : <span class="soft">{tc("jobs.nobody")}</span>}
      </p>
      <div class="row">
        <LinkButton kind="main" icon="list" href={jobPath(id)}>{tc("live.open_job")}</LinkButton>
        <Button icon="people" onClick={() => reassignTo(id)}>
          {tc(job.technician ? "needs.reassign" : "needs.assign")}
        </Button>
      </div>
      <p class="small soft">{tc("live.drag_hint")}</p>
    </div>
  );
}
