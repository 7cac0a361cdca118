// Give a job to somebody: by dragging it onto a person on the map, or by choosing a person. The confirmation says what
// happens to the technician who has the job.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { Button, Chip, ErrorNote, Field, Note, Spinner } from "../../shared/ui/parts.tsx";
import { Sheet } from "../../shared/ui/sheet.tsx";
import { toast } from "../../shared/ui/toast.tsx";
import type { CalloutError } from "../../shared/api.ts";
import type { Job } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { isJob } from "../data/map_feed.ts";
import { tc } from "../i18n/texts.ts";
import { errorOf } from "../load.ts";
import { objectionsOf, PersonChoice } from "../people/choice.tsx";
import type { LiveMap } from "./live_map.ts";

/** The job that is to be given to somebody, and to whom; without `to` the user chooses. */
export const dropped = signal<{ job: string; to?: string } | null>(null);
const error = signal<CalloutError | null>(null);
const busy = signal(false);
const COMMANDS = ["reassign", "assign"];

export function reassignTo(job: string, to?: string): void {
  error.value = null;
  dropped.value = { job, to };
}

export function Reassign({ console }: { console: Console }) {
  const { job: id, to } = dropped.value!;
  const job = console.jobs.changes.value >= 0 ? console.jobs.byId.get(id) : undefined;
  useEffect(() => void console.jobs.read(id).catch((refusal) => (error.value = errorOf(refusal))), [id]);
  const close = () => (dropped.value = null);
  return (
    <Sheet
      title={tc(to ? "reassign.title_to" : "reassign.title", { name: to ? console.people.name(to) : "" })}
      close={close}
    >
      {job?.actions
        ? <Form key={job.id} console={console} job={job} to={to} close={close} />
        : !error.value && <Spinner label={tc("frame.loading")} />}
      <ErrorNote error={error.value} />
    </Sheet>
  );
}

function Form({ console, job, to, close }: { console: Console; job: Job; to?: string; close: () => void }) {
  const command = COMMANDS.find((name) => job.actions!.includes(name));
  if (!command) return <Note kind="warning">{tc("reassign.not_now", { state: console.blueprints.says(job) })}</Note>;
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(event.target as HTMLFormElement)) as Record<string, string>;
    const technician = to ?? (fields.technician || undefined);
    busy.value = true;
    error.value = null;
    try {
      const body = {
        technician,
        reason: fields.reason,
        force: fields.force === "on" || undefined,
        version: job.version,
      };
      const reply = await console.api.call("POST /v1/jobs/{id}/{command}", { params: { id: job.id, command }, body });
      if (reply.job) console.jobs.put(reply.job), console.jobs.changes.value++;
      toast(technician ? tc("reassign.done", { name: console.people.name(technician) }) : tc("reassign.done_open"));
      close();
    } catch (refusal) {
      error.value = errorOf(refusal);
      void console.jobs.read(job.id).catch(() => {});
    }
    busy.value = false;
  };
  return (
    <form class="stack" onSubmit={submit}>
      <p>
        <strong>{console.people.serviceName(job.service)}</strong>
        {job.address && `, ${job.address}`}
      </p>
      <Consequence console={console} job={job} to={to} />
      {to
        ? <Force console={console} job={job} to={to} />
        : <PersonChoice console={console} job={job} optional={command === "reassign"} />}
      <Field label={tc("action.reason")}>
        {(a) => <input {...a} name="reason" required maxLength={500} defaultValue={tc("reassign.default_reason")} />}
      </Field>
      <Button type="submit" kind="main" wide busy={busy.value}>{tc("reassign.confirm")}</Button>
    </form>
  );
}

function Consequence({ console, job, to }: { console: Console; job: Job; to?: string }) {
  const holder = job.technician && !job.asked ? console.people.name(job.technician.id) : "";
  const next = to ? console.people.name(to) : tc("reassign.somebody");
  if (!holder) return <Note>{tc("reassign.first", { next })}</Note>;
  return <Note kind="warning">{tc("reassign.consequence", { holder, next })}</Note>;
}

function Force({ console, job, to }: { console: Console; job: Job; to: string }) {
  const who = console.people.technicians.value.get(to);
  const against = who ? objectionsOf(job, who) : [];
  if (!against.length) return null;
  return (
    <div class="stack">
      <p class="row">
        {against.map((code) => <Chip key={code} state="danger">{tc(`blocker.${code}` as "blocker.offline")}</Chip>)}
      </p>
      <label class="row small">
        <input type="checkbox" name="force" /> {tc("choice.force")}
      </label>
    </div>
  );
}

/** Let jobs be dragged onto people with the mouse. (A finger moves the map; the buttons do the same.) */
export function followDrags(map: LiveMap, console: Console): () => void {
  let dragged = "";
  const start = (event: { point: { x: number; y: number }; preventDefault: () => void; originalEvent: MouseEvent }) => {
    const id = event.originalEvent.button === 0 ? map.thingAt(event.point, "jobs") : undefined;
    const thing = id ? console.map.things.get(id) : undefined;
    if (!id || !thing || !isJob(thing)) return;
    event.preventDefault(); // the map stays where it is
    dragged = id;
  };
  const move = (event: { point: { x: number; y: number }; lngLat: { lng: number; lat: number } }) => {
    if (dragged) map.showDrag(dragged, [event.lngLat.lng, event.lngLat.lat], map.thingAt(event.point, "people"));
    else map.map.getCanvas().style.cursor = map.thingAt(event.point) ? "pointer" : "";
  };
  const end = (event: { point: { x: number; y: number } }) => {
    const [job, to] = [dragged, dragged && map.thingAt(event.point, "people")];
    dragged = "";
    map.hideDrag();
    if (job && to && to !== job) reassignTo(job, to);
  };
  map.map.on("mousedown", start);
  map.map.on("mousemove", move);
  map.map.on("mouseup", end);
  return () => {
    map.map.off("mousedown", start);
    map.map.off("mousemove", move);
    map.map.off("mouseup", end);
  };
}
