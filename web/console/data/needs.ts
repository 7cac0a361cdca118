// What waits for somebody of the staff: jobs that nobody took, are late, whose technician sends no positions, disputes, locked codes, and orders
// that only ops can move on. Warnings come from the log; each is dropped when its job moves on.

import { signal } from "@preact/signals";
import type { Api } from "../../shared/api.ts";
import type { Push } from "../../shared/live.ts";
import { serverNow } from "../../shared/time.ts";
import type { Job } from "../../shared/schema.ts";
import type { Blueprints } from "./blueprints.ts";
import { isLive, type Jobs } from "./jobs.ts";

export const NEED_KINDS = ["dispute", "code_locked", "dark", "unfilled", "late", "stalled", "waits_ops"] as const;
export type NeedKind = (typeof NEED_KINDS)[number];

/** One thing that waits for the staff. `since` is in ms; `status` is the job's state at the warning. */
export interface Need {
  kind: NeedKind;
  job: string;
  since: number;
  status?: string;
  dispute?: string;
  /** The command that would move the job on. */
  command?: string;
}

const KIND_OF_EVENT: Record<string, NeedKind> = {
  "job.unfilled": "unfilled",
  "job.late": "late",
  "job.dark": "dark",
  "job.stalled": "stalled",
  "code.locked": "code_locked",
};
const LOOK_BACK_MS = 6 * 3600_000;

export class Needs {
  readonly changes = signal(0);
  /** Warnings by kind and job. */
  #warnings = new Map<string, Need>();
  #disputes = new Map<string, Need>();
  #dismissed = new Set<string>();

  constructor(private readonly api: Api, private readonly jobs: Jobs, private readonly blueprints: Blueprints) {}

  /** Read the open disputes, and the warnings of the last hours. Rejects with a CalloutError. */
  async load(zone: string, mayReadLog: boolean): Promise<void> {
    const disputes = await this.api.list("GET /v1/disputes", { limit: 200 });
    this.#disputes = new Map(disputes.map((each) => [each.job, needOfDispute(each)]));
    const from = new Date(serverNow() - LOOK_BACK_MS).toISOString();
    const actions = mayReadLog ? Object.keys(KIND_OF_EVENT) : [];
    const pages = await Promise.all(
      actions.map((action) => this.api.call("GET /v1/audit", { query: { zone, action, from, limit: 100 } })),
    );
    for (const { items } of pages) {
      for (const entry of items) if (entry.id) this.#warn(KIND_OF_EVENT[entry.action], entry.id, Date.parse(entry.at));
    }
    this.changes.value++;
  }

  apply(pushes: Push[]): void {
    const before = this.#warnings.size + this.#disputes.size;
    let changed = false;
    for (const { type, data, at } of pushes) {
      if (type in KIND_OF_EVENT) {
        changed = true, this.#warn(KIND_OF_EVENT[type], data.job.id, Date.parse(at), data.status);
      } else if (type === "job.disputed" && data.dispute) {
        changed = true;
        this.#disputes.set(data.job.id, needOfDispute({ ...data.dispute, job: data.job.id, opened_at: at }));
      } else if (type === "job.resolved") changed = this.#disputes.delete(data.job.id) || changed;
    }
    if (changed || before !== this.#warnings.size + this.#disputes.size) this.changes.value++;
  }

  /** Hide one warning until it happens again. */
  dismiss(need: Need): void {
    this.#dismissed.add(keyOf(need));
    this.changes.value++;
  }

  /** Return what waits now, the gravest kind first, then the oldest. The caller must have read `changes`. */
  all(): Need[] {
    const found = [...this.#disputes.values()];
    for (const need of this.#warnings.values()) if (this.#holds(need)) found.push(need);
    for (const job of this.jobs.all()) {
      const command = isLive(job) && this.blueprints.waitsForOps(job);
      if (command) found.push({ kind: "waits_ops", job: job.id, since: sinceOf(job), command: command.name });
    }
    const rank = (need: Need) => NEED_KINDS.indexOf(need.kind);
    return found.filter((need) => !this.#dismissed.has(keyOf(need))).sort((a, b) =>
      rank(a) - rank(b) || a.since - b.since
    );
  }

  #warn(kind: NeedKind, job: string, since: number, status?: string): void {
    const known = this.#warnings.get(`${kind} ${job}`);
    if (!known || known.since < since) this.#warnings.set(`${kind} ${job}`, { kind, job, since, status });
  }

  /** Whether a warning still holds: its job is live and has not changed its state since. */
  #holds(need: Need): boolean {
    const job = this.jobs.byId.get(need.job);
    if (!job || !isLive(job)) return false;
    if (need.kind === "unfilled" && job.technician) return false;
    return need.kind === "code_locked" || need.since >= sinceOf(job) - 1000;
  }
}

function keyOf(need: Need): string {
  return `${need.kind} ${need.job} ${need.since}`;
}

function needOfDispute(dispute: { id: string; job: string; opened_at?: string | null }): Need {
  return {
    kind: "dispute",
    job: dispute.job,
    dispute: dispute.id,
    since: Date.parse(dispute.opened_at ?? "") || serverNow(),
  };
}

/** When a job got into its present state, in ms. */
export function sinceOf(job: Job): number {
  return Date.parse(job.at?.[job.status] ?? job.updated_at ?? job.created_at ?? "") || 0;
}
