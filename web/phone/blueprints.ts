// The blueprints: what a state means in words, which commands there are, and which of a job's actions is the next step.
// This module names no state and no blueprint, so that custom blueprints work like the built-in ones.

import { signal } from "@preact/signals";
import type { Api } from "../shared/api.ts";
import type { Job, PublicBlueprint, Service } from "../shared/schema.ts";
import { known } from "../shared/i18n/i18n.ts";
import { setTimeZoneOf } from "../shared/time.ts";

export const blueprints = signal<Map<string, PublicBlueprint>>(new Map());
export const services = signal<Map<string, Service>>(new Map());

/** Load the blueprints, the services, and the time zone in which the page shows times. */
export async function loadCatalogue(api: Api): Promise<void> {
  const lists = [api.list("GET /v1/blueprints"), api.list("GET /v1/services"), api.list("GET /v1/zones")] as const;
  const [known, offered, zones] = await Promise.all(lists);
  setTimeZoneOf(zones);
  blueprints.value = new Map(known.map((each) => [each.name, each]));
  services.value = new Map(offered.map((each) => [each.id, each]));
}

type State = PublicBlueprint["states"][number];
type Command = PublicBlueprint["commands"][number];
type AnyJob = Pick<Job, "blueprint" | "status" | "service">;

export function stateOf(job: AnyJob): State | undefined {
  return blueprints.value.get(job.blueprint)?.states.find((state) => state.name === job.status);
}

/** The sentence of the job's state. */
export function sentenceOf(job: AnyJob): string {
  return stateOf(job)?.says ?? job.status;
}

export function serviceName(job: AnyJob): string {
  return services.value.get(job.service)?.name ?? "";
}

export function commandOf(job: AnyJob, name: string): Command | undefined {
  return blueprints.value.get(job.blueprint)?.commands.find((command) => command.name === name);
}

/** The word on the button of a command. */
export function commandLabel(name: string): string {
  const text = known("command", name);
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/** Commands that have a route of their own, or are given in another part of the page. */
const WITH_OWN_PART = new Set([
  "bid",
  "withdraw",
  "award",
  "capture",
  "sign",
  "claim",
  "decline",
  "reassign",
  "assign",
]);

/** The next step of the caller: the action that brings the job forward to a state that is declared later, and does not
 * end it early; undefined if there is none. */
export function nextStep(job: Job): string | undefined {
  return (job.actions ?? []).find((name) => !WITH_OWN_PART.has(name) && isForward(job, name));
}

function isForward(job: Job, name: string): boolean {
  const states = blueprints.value.get(job.blueprint)?.states ?? [];
  const command = commandOf(job, name);
  if (!command || command.resolves) return false;
  if (!command.to) return command.event === "payment.requested"; // a confirmation moves nothing by itself
  const [from, to] = [job.status, command.to].map((state) => states.findIndex((each) => each.name === state));
  return to > from && states[to].phase !== "closed" && command.event !== "job.disputed";
}

/** The step that comes next for the holder by the blueprint, if the server does not allow it yet: photos are missing, or
 * it is too early. */
export function blockedStep(job: Job): string | undefined {
  if (nextStep(job) || job.asked || job.frozen) return undefined;
  const commands = blueprints.value.get(job.blueprint)?.commands ?? [];
  return commands.find((each) => each.from.holder?.includes(job.status) && isForward(job, each.name))?.name;
}

/** The other actions, for a list below: those that cancel, leave, dispute or renew codes. */
export function otherSteps(job: Job): string[] {
  const next = nextStep(job);
  return (job.actions ?? []).filter((name) => name !== next && !WITH_OWN_PART.has(name) && !isForward(job, name));
}

/** Whether a command ends the job early, gives it back or opens a dispute: it asks before it is sent. */
export function isGrave(job: Job, name: string): boolean {
  const command = commandOf(job, name);
  const to = blueprints.value.get(job.blueprint)?.states.find((state) => state.name === command?.to);
  return to?.phase === "closed" || to?.phase === "open" || command?.event === "job.disputed";
}

/** The command that opens a dispute about the job now, if the caller may. */
export function disputeOf(job: Job): string | undefined {
  return (job.actions ?? []).find((name) => commandOf(job, name)?.event === "job.disputed");
}

/** The purpose of the code that the technician needs next, in the job's present state. */
export function codeNeeded(job: AnyJob): string | undefined {
  const commands = blueprints.value.get(job.blueprint)?.commands ?? [];
  const next = commands.find((command) => command.code && command.from.holder?.includes(job.status));
  return next?.code ?? undefined;
}
