// What the blueprints say: the texts of states, and what comes next.

import { signal } from "@preact/signals";
import type { Api } from "../../shared/api.ts";
import type { Job, PublicBlueprint } from "../../shared/schema.ts";

type Command = PublicBlueprint["commands"][number];
type State = PublicBlueprint["states"][number];

const NOT_OPS = ["offered", "technician", "asked", "customer", "holder"];

export class Blueprints {
  readonly byName = signal<Record<string, PublicBlueprint>>({});

  constructor(private readonly api: Api) {}

  async load(): Promise<void> {
    const found = await this.api.list("GET /v1/blueprints");
    this.byName.value = Object.fromEntries(found.map((blueprint) => [blueprint.name, blueprint]));
  }

  title(name: string): string {
    return this.byName.value[name]?.title ?? name;
  }

  state(job: Pick<Job, "blueprint" | "status">): State | undefined {
    const states = this.byName.value[job.blueprint]?.states;
    return states?.find((state) => state.word === job.status || state.name === job.status);
  }

  /** The text for people about the state of a job. */
  says(job: Pick<Job, "blueprint" | "status">): string {
    return this.state(job)?.says ?? job.status.replaceAll("_", " ");
  }

  command(job: Pick<Job, "blueprint">, name: string): Command | undefined {
    return this.byName.value[job.blueprint]?.commands.find((command) => command.name === name);
  }

  /** The command with which ops move a job to its next state, if nobody else can and the job searches for no
   * technician: a placed order waits to be
   * confirmed. Null if the job does not wait for ops. */
  waitsForOps(job: Job): Command | null {
    const state = this.state(job);
    if (!state || state.phase !== "open" || state.seeks !== "none" || job.technician) return null;
    const onward = this.byName.value[job.blueprint].commands.filter((command) => this.#goesOn(job, command));
    const allowed = (command: Command, relation: string) => command.from[relation]?.includes(state.name);
    if (onward.some((command) => NOT_OPS.some((relation) => allowed(command, relation)))) return null;
    return onward.find((command) => allowed(command, "ops")) ?? null;
  }

  #goesOn(job: Job, command: Command): boolean {
    const to = this.byName.value[job.blueprint].states.find((state) => state.name === command.to);
    return !!to && to.phase !== "closed";
  }
}
