// Presence of users and positions of technicians. Messages about them may be lost, and the server sends the state
// again.
//
//   import { Positions, Presence } from "/web/live.js";
//   const presence = new Presence(callout);
//   presence.addEventListener("change", ({ detail }) => badge(detail.user, detail.online));
//   await presence.watch([user]);
//   const positions = new Positions(callout);
//   positions.addEventListener("change", ({ detail }) => move(positions.latest(detail.job)));

/** @typedef {import("./callout.js").Callout} Callout */
/** @typedef {{ user: string, online: boolean, last_seen: string | null }} UserPresence */

/** The age at which a position counts as stale while there is no connection: the server cannot report it then. */
const STALE_S = 30;

/** The presence of the users that `watch` names. It dispatches `change` with a `UserPresence` when one is read or
 * changes. */
export class Presence extends EventTarget {
  /** The last known presence by user id. Users whose presence this user may not see are missing. @type {Map<string,
   * UserPresence>} */
  byUser = new Map();
  /** @type {Set<string>} */ #users = new Set();
  #callout;

  /** @param {Callout} callout */
  constructor(callout) {
    super();
    this.#callout = callout;
    callout.addEventListener("event", this.#onEvent);
    callout.addEventListener("status", this.#onStatus);
  }

  /** Watch these users too, and return the presence of those who share a live job or an open room with this user. The
   * server sends each change on a socket; a client that polls has the presence as it was at the last request.
   * @param {string[]} users @returns {Promise<UserPresence[]>} */
  async watch(users) {
    const visible = await this.#ask(users);
    for (const user of users) this.#users.add(user);
    return visible;
  }

  /** Stop dispatching. The server sends the changes to this socket until it is closed. */
  close() {
    this.#callout.removeEventListener("event", this.#onEvent);
    this.#callout.removeEventListener("status", this.#onStatus);
  }

  #onEvent = (/** @type {any} */ { detail }) => {
    if (detail.type === "presence") this.#apply(detail.data);
  };

  /** Send the watched users again at each connection, because the server forgets them when the old socket closes. */
  #onStatus = async (/** @type {any} */ { detail }) => {
    if (detail.status !== "connected" || !this.#users.size) return;
    await null; // the client sends its waiting requests first
    await this.#ask([...this.#users]).catch(() => {}); // the next connection asks again
  };

  /** @param {string[]} users @returns {Promise<UserPresence[]>} */
  async #ask(users) {
    const path = `/v1/presence?users=${users.map(encodeURIComponent).join(",")}`;
    const callout = this.#callout;
    const isPolling = callout.transport === "polling";
    const { items } = await (isPolling ? callout.http("GET", path) : callout.request("presence", { users }));
    for (const presence of items) this.#apply(presence);
    return items;
  }

  /** @param {UserPresence} presence */
  #apply(presence) {
    const known = this.byUser.get(presence.user);
    if (known?.online === presence.online && known.last_seen === presence.last_seen) return;
    this.byUser.set(presence.user, presence);
    this.dispatchEvent(new CustomEvent("change", { detail: presence }));
  }
}

/** The last position of each job. It dispatches `change` with each position that arrives, and with the job's last one
 * when the server says that it is stale. */
export class Positions extends EventTarget {
  /** @type {Map<string, { receivedAt: number, position: any }>} */ #byJob = new Map();
  #callout;

  /** @param {Callout} callout */
  constructor(callout) {
    super();
    this.#callout = callout;
    callout.addEventListener("event", this.#onEvent);
  }

  /** Stop recording positions. */
  close() {
    this.#callout.removeEventListener("event", this.#onEvent);
  }

  /** Return the last position of a job, or null. `age_s` is its age now, in seconds. `stale`: the technician may have
   * moved since. @param {string} job @returns {any} */
  latest(job) {
    const known = this.#byJob.get(job);
    if (!known) return null;
    const age_s = known.position.age_s + (performance.now() - known.receivedAt) / 1000;
    const stale = known.position.stale || (age_s > STALE_S && this.#callout.transport !== "socket");
    return { ...known.position, age_s, stale };
  }

  /** Read the present position of a job, as a map does when it is opened; null if it is unknown or not shared.
   * @param {string} job @returns {Promise<any>} */
  async load(job) {
    const { position } = await this.#callout.http("GET", `/v1/jobs/${job}/track`);
    if (position) this.#record(position);
    else this.#byJob.delete(job);
    return this.latest(job);
  }

  #onEvent = (/** @type {any} */ { detail }) => {
    if (detail.type === "position") this.#record(detail.data);
  };

  /** Record a position, unless a newer one is known. @param {any} position */
  #record(position) {
    const known = this.#byJob.get(position.job);
    if (known && position.at < known.position.at) return;
    this.#byJob.set(position.job, { receivedAt: performance.now(), position });
    this.dispatchEvent(new CustomEvent("change", { detail: position }));
  }
}
