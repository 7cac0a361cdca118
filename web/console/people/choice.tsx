// Choose a technician for a job: those who offer its service first, each with their load and the objections to them.

import { signal } from "@preact/signals";
import { Chip, Field } from "../../shared/ui/parts.tsx";
import { distance } from "../../shared/time.ts";
import type { Job, Technician } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { isPerson } from "../data/map_feed.ts";
import { tc } from "../i18n/texts.ts";

const MAX_SHOWN = 30;
const EARTH_M = 6_371_000;
const text = signal("");

/** Return the distance in metres between two places (haversine). */
export function metresBetween(a: { lat: number; lon: number }, b: { lat: number; lon: number }): number {
  const rad = Math.PI / 180;
  const h = Math.sin(((b.lat - a.lat) * rad) / 2) ** 2 +
    Math.cos(a.lat * rad) * Math.cos(b.lat * rad) * Math.sin(((b.lon - a.lon) * rad) / 2) ** 2;
  return 2 * EARTH_M * Math.asin(Math.sqrt(h));
}

function awayOf(console: Console, job: Job, id: string): number {
  const person = console.map.things.get(id);
  return person && isPerson(person) ? metresBetween(person, job) : Infinity;
}

/** Return the known reasons why a technician should not get the job. The server decides. */
export function objectionsOf(job: Job, who: Technician): string[] {
  return [
    !who.online && "offline",
    !who.services.includes(job.service) && "service",
    who.kyc !== "approved" && "kyc_not_approved",
    who.account !== "approved" && "account_not_approved",
    who.capacity !== undefined && (who.load ?? 0) >= (who.capacity ?? 1) && "at_capacity",
  ].filter(Boolean) as string[];
}

export function PersonChoice({ console, job, optional }: { console: Console; job: Job; optional?: boolean }) {
  const typed = text.value.toLowerCase();
  const ranked = [...console.people.technicians.value.values()]
    .filter((who) => who.id !== job.technician?.id && who.name.toLowerCase().includes(typed))
    .map((who) => ({ who, against: objectionsOf(job, who), away: awayOf(console, job, who.id) }))
    .sort((a, b) => a.against.length - b.against.length || a.away - b.away)
    .slice(0, MAX_SHOWN);
  return (
    <fieldset class="choice">
      <legend>{tc("choice.legend")}</legend>
      <Field label={tc("choice.find")}>
        {(a) => (
          <input
            {...a}
            type="search"
            value={text.value}
            onInput={(event) => (text.value = event.currentTarget.value)}
          />
        )}
      </Field>
      <div class="choices">
        {optional && (
          <label>
            <input type="radio" name="technician" value="" defaultChecked />
            <span class="grow">{tc("choice.nobody")}</span>
          </label>
        )}
        {ranked.map(({ who, against, away }) => (
          <label key={who.id}>
            <input type="radio" name="technician" value={who.id} required={!optional} />
            <span class="grow">{who.name}</span>
            {against.map((code) => <Chip key={code} state="danger">{tc(`blocker.${code}` as "blocker.offline")}</Chip>)}
            {away < Infinity && <span class="soft small number">{distance(away)}</span>}
          </label>
        ))}
      </div>
      <label class="row small">
        <input type="checkbox" name="force" /> {tc("choice.force")}
      </label>
    </fieldset>
  );
}
