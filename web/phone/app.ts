// The state that both phone apps share: the jobs of the user, their positions, and what waits to be sent.

import { computed, signal } from "@preact/signals";
import type { CalloutError } from "../shared/api.ts";
import type { Live, Push, Sync } from "../shared/live.ts";
import type { Job, Offer, Room, Technician } from "../shared/schema.ts";
import { toast } from "../shared/ui/toast.tsx";
import { Positions } from "../../clients/javascript/live.js";
import { loadCatalogue } from "./blueprints.ts";
import { Outbox, type Pending } from "./outbox.ts";
import { BrowserPush } from "./push.ts";

/** The progress of a search (`job.searching`). */
export interface Search {
  wave: number;
  asked: number;
  declined: number;
  radius_m: number | null;
  next_at: string;
}

const REFRESH_MS = 120;
const RETRY_MS = 5_000;

export class PhoneApp {
  readonly outbox: Outbox;
  readonly positions: Positions;
  readonly push: BrowserPush;
  /** The user's jobs by id. Jobs that ended while the page is open stay here. */
  readonly jobs = signal<Map<string, Job>>(new Map());
  readonly offers = signal<Offer[]>([]);
  readonly searches = signal<Map<string, Search>>(new Map());
  /** Unread messages by room. */
  readonly unread = signal<Map<string, number>>(new Map());
  /** The profile of a technician. */
  readonly technician = signal<Technician | null>(null);
  /** Rises with each change of bids, by the job's id. */
  readonly bidsChanged = signal<Map<string, number>>(new Map());
  /** Rises when a position has arrived. */
  readonly moved = signal(0);
  /** How often the device sends its position. */
  readonly fixRate = signal({ every_s: 30, distance_m: 250 });
  /** What the business announces, the latest of each type: "closed", a promotion. */
  readonly announcements = signal<Push[]>([]);
  /** False until the first snapshot is here. */
  readonly loaded = signal(false);
  readonly liveJobs = computed(() =>
    [...this.jobs.value.values()].filter((job) => job.phase !== "done" && job.phase !== "closed" && this.isMine(job))
      .sort((one, other) => (other.created_at ?? "").localeCompare(one.created_at ?? ""))
  );
  readonly #refreshes = new Map<string, ReturnType<typeof setTimeout>>();
  readonly #ends: (() => void)[];

  constructor(readonly live: Live) {
    this.outbox = new Outbox(live, this.me.id);
    this.positions = new Positions(live.callout);
    this.positions.addEventListener("change", () => (this.moved.value += 1));
    this.push = new BrowserPush(live);
    this.outbox.onAnswer = this.#onAnswer;
    this.#ends = [live.onSync(this.#onSync), live.onPush(this.#onPush)];
    this.outbox.start();
    void this.push.start().catch(() => {});
    void this.#loadCatalogue();
  }

  get api() {
    return this.live.api;
  }

  get me() {
    return this.live.session.user.value!;
  }

  /** Return whether the user is the customer or the holder of the job. Former holders and bidders may read it too. */
  isMine(job: Job): boolean {
    return job.customer?.id === this.me.id || job.technician?.id === this.me.id;
  }

  close(): void {
    for (const end of this.#ends) end();
    this.positions.close();
    this.push.close();
    this.outbox.stop();
  }

  /** Read a job again in a moment, with the actions that the user may take now. */
  refresh(job: string): void {
    clearTimeout(this.#refreshes.get(job));
    this.#refreshes.set(job, setTimeout(() => void this.load(job).catch(() => {}), REFRESH_MS));
  }

  async load(job: string): Promise<Job> {
    const reply = await this.api.call("GET /v1/jobs/{id}", { params: { id: job } });
    this.take(reply.job);
    return reply.job;
  }

  /** Store the job of a reply. Its `actions` are valid at this moment. */
  take(job: Job | undefined | null): void {
    const known = job && this.jobs.value.get(job.id);
    if (!job || (known && known.version > job.version)) return;
    this.jobs.value = new Map(this.jobs.value).set(job.id, job);
  }

  drop(job: string): void {
    const jobs = new Map(this.jobs.value);
    jobs.delete(job);
    this.jobs.value = jobs;
  }

  /** Take a step of a job. The step is stored, so it is sent also after a reload. Rejects with a CalloutError if it is
   * refused. */
  async step(job: string, command: string, args: Record<string, unknown> = {}): Promise<void> {
    const reply = await this.outbox.send("POST", `/v1/jobs/${job}/${command}`, args, { what: command, job });
    this.take(reply?.job);
  }

  async loadOffers(): Promise<void> {
    this.offers.value = (await this.api.call("GET /v1/offers")).items;
  }

  async loadMe(): Promise<void> {
    const me = await this.api.call("GET /v1/me");
    this.technician.value = me.technician ?? null;
    this.fixRate.value = me.fix;
  }

  async #loadCatalogue(): Promise<void> {
    await loadCatalogue(this.api).catch(() => setTimeout(() => void this.#loadCatalogue(), RETRY_MS));
  }

  #onSync = ({ snapshot }: Sync): void => {
    if (!snapshot) return;
    const known = this.jobs.value;
    const jobs = snapshot.jobs.map((job: Job) => [job.id, { ...job, actions: known.get(job.id)?.actions }]);
    this.jobs.value = new Map([...known, ...jobs]);
    for (const job of snapshot.jobs) this.refresh(job.id);
    this.unread.value = new Map(snapshot.rooms.map((room: Room) => [room.id, room.unread]));
    this.offers.value = snapshot.offers;
    this.technician.value = snapshot.me.technician ?? null;
    this.fixRate.value = snapshot.fix;
    this.loaded.value = true;
  };

  #onPush = ({ type, data, ...push }: Push): void => {
    if (type === "job.searching") {
      this.searches.value = new Map(this.searches.value).set(data.job.id, data);
    } else if (type.startsWith("offer.") && type !== "offer.declined") void this.loadOffers().catch(() => {});
    else if (type === "fix") this.fixRate.value = data;
    else if (type.startsWith("technician.re") || type === "technician.status") void this.loadMe().catch(() => {});
    else if (type === "business.status" || type === "promotion" || type.startsWith("announcement.")) {
      const others = this.announcements.value.filter((each) => each.type !== type);
      this.announcements.value = [...others, { type, data, ...push }];
    } else if (type === "message.created" && data.message.sender.id !== this.me.id) this.#count(data.message.room, 1);
    else if (type === "room.read" && data.user?.id === this.me.id) this.#count(data.room.id, 0);
    const job = typeof data?.job === "object" ? data.job?.id : undefined;
    if (!job || type === "job.searching" || (type.startsWith("offer.") && !this.jobs.value.has(job))) return;
    if (type.startsWith("bid.")) {
      this.bidsChanged.value = new Map(this.bidsChanged.value).set(job, (this.bidsChanged.value.get(job) ?? 0) + 1);
    }
    // A technician is told of each new job near by, and may read it when it is offered to them.
    if (type === "job.created" && this.me.role === "technician") return;
    this.refresh(job);
  };

  #count(room: string, by: number): void {
    const unread = new Map(this.unread.value);
    this.unread.value = unread.set(room, by && (unread.get(room) ?? 0) + by);
  }

  /** Handle the answer to a stored request. No other code shows the refusal of a request that an earlier page made. */
  #onAnswer = (sent: Pending, answer: { job?: Job } | null, error: CalloutError | null): void => {
    if (answer?.job) this.take(answer.job);
    if (sent.job) this.refresh(sent.job);
    if (error && sent.isOld) toast(error.message);
  };
}
