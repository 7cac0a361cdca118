// Everything that the pages of the console share: the connection, who is signed in, and the live data of one zone.

import { signal } from "@preact/signals";
import type { Api, CalloutError } from "../../shared/api.ts";
import type { Live } from "../../shared/live.ts";
import type { Role } from "../../shared/session.ts";
import { setTimeZoneOf } from "../../shared/time.ts";
import type { ZoneItem } from "../../shared/schema.ts";
import { Blueprints } from "./blueprints.ts";
import { Jobs } from "./jobs.ts";
import { LogTail } from "./log.ts";
import { MapFeed } from "./map_feed.ts";
import { Needs } from "./needs.ts";
import { People } from "./people.ts";
import { Stats } from "./stats.ts";

const OPS: Role[] = ["ops_manager", "admin"];

export class Console {
  readonly api: Api;
  readonly zones = signal<ZoneItem[]>([]);
  readonly jobs: Jobs;
  readonly people: People;
  readonly blueprints: Blueprints;
  readonly needs: Needs;
  readonly stats: Stats;
  readonly log = new LogTail();
  readonly map: MapFeed;
  /** Why the data could not be read; null while it is current. */
  readonly error = signal<CalloutError | null>(null);
  readonly loaded = signal(false);

  #past: Promise<[lon: number, lat: number][]> | undefined;

  /** Create this before the connection is opened, so that no event is missed. */
  constructor(readonly live: Live, readonly zone: string) {
    this.api = live.api;
    this.jobs = new Jobs(this.api);
    this.people = new People(this.api);
    this.blueprints = new Blueprints(this.api);
    this.needs = new Needs(this.api, this.jobs, this.blueprints);
    this.stats = new Stats(this.api);
    this.map = new MapFeed(this.live, zone);
    this.live.onFrame((pushes) => {
      this.jobs.apply(pushes);
      this.needs.apply(pushes);
      this.people.apply(pushes);
      this.log.apply(pushes);
    });
    this.live.onSync(() => void this.load());
    if (this.isOps) live.callout.subs.add(`zone:${zone}`);
  }

  get role(): Role {
    return this.live.session.user.value?.role ?? "mediator";
  }

  get isOps(): boolean {
    return OPS.includes(this.role);
  }

  get isAdmin(): boolean {
    return this.role === "admin";
  }

  get reviews(): boolean {
    return this.isAdmin || this.role === "onboarding_manager";
  }

  get mediates(): boolean {
    return this.isOps || this.role === "mediator";
  }

  /** Read where past jobs were, once: a background for the maps. Rejects with a CalloutError. */
  readonly past = (): Promise<[lon: number, lat: number][]> =>
    this.#past ??= this.api.call("GET /v1/zones/{zone}/places", { params: { zone: this.zone } })
      .then(({ places }) => places.map(([lat, lon]) => [lon, lat]));

  /** Read everything that this role may see. If the server refuses, the error is shown, and the earlier data stays. */
  async load(): Promise<void> {
    this.error.value = null;
    const zones = this.api.list("GET /v1/zones").then((found) => {
      this.zones.value = found;
      setTimeZoneOf(found.filter((each) => each.name === this.zone));
    });
    const parts: Promise<unknown>[] = [zones, this.blueprints.load(), this.people.load()];
    if (this.mediates) parts.push(this.jobs.load().then(() => this.needs.load(this.zone, this.isOps)));
    try {
      await Promise.all(parts);
      this.loaded.value = true;
    } catch (error) {
      this.error.value = error as CalloutError;
    }
  }
}
