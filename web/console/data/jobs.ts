// The jobs of the zone: read once, then kept current by the events of the log. An event replaces a job only if it has a
// higher version of the job.

import { signal } from "@preact/signals";
import type { Api } from "../../shared/api.ts";
import type { Push } from "../../shared/live.ts";
import type { Job } from "../../shared/schema.ts";

export const LIVE_PHASES = ["open", "assigned", "active"] as const;
const MAX_JOBS = 2000;
const MAX_OVER = 200;

export function isLive(job: Job): boolean {
  return job.phase !== "done" && job.phase !== "closed";
}

/** How a search for a technician goes, from `job.searching`. */
export interface Search {
  wave: number;
  asked: number;
  declined: number;
  radius_m: number | null;
  next_at: string;
}

export class Jobs {
  readonly byId = new Map<string, Job>();
  readonly searches = new Map<string, Search>();
  /** Rises with each change. Code that reads `byId` reads this first, so that it is run again. */
  readonly changes = signal(0);
  readonly loaded = signal(false);

  constructor(private readonly api: Api) {}

  /** Read all live jobs, and the latest jobs that have ended. Rejects with a CalloutError. */
  async load(): Promise<void> {
    const phases = [...LIVE_PHASES, "done"] as const;
    const pages = await Promise.all(
      phases.map((phase) =>
        this.api.list("GET /v1/jobs", { query: { phase }, limit: phase === "done" ? 50 : MAX_JOBS })
      ),
    );
    const found = pages.flat();
    const still = new Set(found.map((job) => job.id));
    for (const [id, job] of this.byId) if (isLive(job) && !still.has(id)) this.byId.delete(id);
    for (const job of found) this.put(job);
    this.loaded.value = true;
    this.changes.value++;
  }

  /** Store a job, unless a newer version is known. The known `actions` remain only if
   * the version is the same. */
  put(job: Job): void {
    const known = this.byId.get(job.id);
    if (known && known.version > job.version) return;
    this.byId.delete(job.id);
    this.byId.set(job.id, known && known.version === job.version ? { ...known, ...job } : job);
    if (!isLive(job) || job.technician) this.searches.delete(job.id);
  }

  /** Apply the pushes of one frame of the screen. */
  apply(pushes: Push[]): void {
    let changed = false;
    for (const { type, data } of pushes) {
      if (type === "job.searching") this.searches.set(data.job.id, data), changed = true;
      else if (data?.job?.version && "customer" in data.job) this.put(data.job), changed = true;
    }
    if (!changed) return;
    this.#dropOld();
    this.changes.value++;
  }

  /** Read a job with the actions that this user may take now. Rejects with a CalloutError. */
  async read(id: string): Promise<Job> {
    const { job } = await this.api.call("GET /v1/jobs/{id}", { params: { id } });
    this.put(job);
    this.changes.value++;
    return job;
  }

  /** Return the jobs, the latest changed last. The caller must have read `changes`. */
  all(): Job[] {
    return [...this.byId.values()];
  }

  #dropOld(): void {
    const over = this.all().filter((job) => !isLive(job));
    for (const job of over.slice(0, Math.max(0, over.length - MAX_OVER))) this.byId.delete(job.id);
  }
}
