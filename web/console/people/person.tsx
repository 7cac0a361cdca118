// One person: a technician with their work, or another user.

import { signal } from "@preact/signals";
import { t } from "../../shared/i18n/i18n.ts";
import { go } from "../../shared/router.ts";
import type { CalloutError } from "../../shared/api.ts";
import { Button, Card, Chip, Empty, ErrorNote, Field } from "../../shared/ui/parts.tsx";
import { Sheet } from "../../shared/ui/sheet.tsx";
import { toast } from "../../shared/ui/toast.tsx";
import type { Technician } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";
import { useKeys } from "../keys.ts";
import { errorOf, useLoaded } from "../load.ts";
import { Why } from "../live/panel.tsx";
import { jobPath, pathOf } from "../nav.ts";
import { Shown } from "../shown.tsx";
import { Blockers } from "./technicians.tsx";

export function PersonPage({ console, id }: { console: Console; id: string }) {
  const loaded = useLoaded(() => console.people.read(id), [id]);
  useKeys({ Escape: () => go(pathOf("people")) });
  const isUnknown = loaded.error.value?.code === "not_found";
  return (
    <div class="page">
      <header class="page-head">
        <Button kind="quiet" icon="back" onClick={() => history.length > 1 ? history.back() : go(pathOf("people"))}>
          {t("action.back")}
        </Button>
        <h1>{loaded.data.value?.name ?? id}</h1>
      </header>
      {isUnknown ? <OtherUser console={console} id={id} /> : (
        <Shown loaded={loaded}>
          {(read) => <TechnicianView console={console} who={console.people.technicians.value.get(id) ?? read} />}
        </Shown>
      )}
    </div>
  );
}

function TechnicianView({ console, who }: { console: Console; who: Technician }) {
  const jobs = console.jobs.changes.value >= 0 ? console.jobs.all().filter((job) => job.technician?.id === who.id) : [];
  return (
    <div class="job-columns">
      <div class="stack">
        <Card title={tc("person.profile")}>
          <dl class="facts">
            <div>
              <dt>{tc("person.online")}</dt>
              <dd>
                <Chip state={who.online ? "done" : "closed"}>
                  {tc(who.online ? "person.is_online" : "person.offline")}
                </Chip>
              </dd>
            </div>
            <div>
              <dt>{tc("person.blockers")}</dt>
              <dd>
                <Blockers who={who} />
              </dd>
            </div>
            {who.phone && (
              <div>
                <dt>{tc("person.phone")}</dt>
                <dd>
                  <a href={`tel:${who.phone}`}>{who.phone}</a>
                </dd>
              </div>
            )}
            <div>
              <dt>{tc("person.rating")}</dt>
              <dd class="number">{who.rating.toFixed(2)} ({who.rating_count})</dd>
            </div>
            <div>
              <dt>{tc("person.load")}</dt>
              <dd class="number">{who.load ?? 0} / {who.capacity ?? 1}</dd>
            </div>
            <div>
              <dt>{tc("person.services")}</dt>
              <dd>{who.services.map((each) => console.people.serviceName(each)).join(", ") || "–"}</dd>
            </div>
            <div>
              <dt>{tc("frame.zone")}</dt>
              <dd>{who.zone}</dd>
            </div>
          </dl>
          {console.isOps && <Suspend console={console} who={who} />}
        </Card>
        {console.isOps && (
          <Card title={tc("person.why")}>
            <Why console={console} id={who.id} />
          </Card>
        )}
      </div>
      <Card title={tc("person.jobs")}>
        {!jobs.length && <Empty icon="list" title={tc("person.no_jobs")}>{tc("person.no_jobs_text")}</Empty>}
        {[...jobs].reverse().map((job) => (
          <a key={job.id} class="line" href={jobPath(job.id)}>
            <Chip state={job.phase}>{job.status.replaceAll("_", " ")}</Chip>
            <span class="grow">{console.people.serviceName(job.service)}</span>
            <span class="soft small">{job.address}</span>
          </a>
        ))}
      </Card>
    </div>
  );
}

const suspending = signal("");
const error = signal<CalloutError | null>(null);
const busy = signal(false);

function Suspend({ console, who }: { console: Console; who: Technician }) {
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const { reason, jobs } = Object.fromEntries(new FormData(event.target as HTMLFormElement)) as Record<
      string,
      string
    >;
    busy.value = true;
    error.value = null;
    try {
      await console.api.call("POST /v1/users/{id}/suspend", {
        params: { id: who.id },
        body: { reason, jobs: jobs as "keep" | "reassign" },
      });
      toast(tc("person.suspended", { name: who.name }));
      suspending.value = "";
    } catch (refusal) {
      error.value = errorOf(refusal);
    }
    busy.value = false;
  };
  return (
    <>
      <Button onClick={() => (suspending.value = who.id)}>{tc("person.suspend")}</Button>
      {suspending.value === who.id && (
        <Sheet title={tc("person.suspend_title", { name: who.name })} close={() => (suspending.value = "")}>
          <form class="stack" onSubmit={submit}>
            <p>{tc("person.suspend_text")}</p>
            <Field label={tc("person.suspend_jobs")}>
              {(a) => (
                <select {...a} name="jobs">
                  <option value="reassign">{tc("person.suspend_reassign")}</option>
                  <option value="keep">{tc("person.suspend_keep")}</option>
                </select>
              )}
            </Field>
            <Field label={tc("action.reason")}>{(a) => <input {...a} name="reason" required maxLength={500} />}</Field>
            <ErrorNote error={error.value} />
            <Button type="submit" kind="danger" wide busy={busy.value}>{tc("person.suspend")}</Button>
          </form>
        </Sheet>
      )}
    </>
  );
}

/** A customer or a member of the staff. Ops see their jobs. */
function OtherUser({ console, id }: { console: Console; id: string }) {
  const loaded = useLoaded(() => console.api.call("GET /v1/jobs", { query: { customer: id, limit: 50 } }), [id]);
  return (
    <Shown loaded={loaded}>
      {({ items }) => (
        <Card title={tc("person.booked")}>
          {!items.length && <Empty icon="list" title={tc("person.no_booked")}>{tc("person.no_booked_text")}</Empty>}
          {items.map((job) => (
            <a key={job.id} class="line" href={jobPath(job.id)}>
              <Chip state={job.phase}>{job.status.replaceAll("_", " ")}</Chip>
              <span class="grow">{console.people.serviceName(job.service)}</span>
              <span class="soft small">{job.address}</span>
            </a>
          ))}
        </Card>
      )}
    </Shown>
  );
}
