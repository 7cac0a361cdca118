// Callout in a browser: one module, no dependency.
//
//   import { Callout } from "/web/callout.js";
//   const callout = new Callout({ token: async (fresh) => … });
//   callout.addEventListener("event", ({ detail }) => show(detail));
//   callout.addEventListener("sync", ({ detail }) => begin(detail.snapshot));
//   callout.open();
//   const { job } = await callout.request("claim", { job: "job_…" });
//
// Two things survive a lost connection: a cursor for each zone, and the requests without a reply. A request is sent
// again with its idempotency key, so the server recognises it. An event at or below the cursor is a repeat.
//
// Polling is not a second mode. It fills the gaps between two attempts at a socket after two attempts in a row have
// failed, so the loop that always runs also returns to the socket. (Rejected: to choose a transport at the start. A
// client that is behind a bad proxy for a minute would then poll all day.)

/** @typedef {{ epoch: string, seq: number }} Place */
/** @typedef {Record<string, Place>} Places cursors, by zone */
/** @typedef {{ type: string, event: string, zone?: string, seq?: number, at: string, data: any }} Push */
/** @typedef {{ id?: number, op: string, key?: string, [argument: string]: any }} Request */
/** @typedef {{ frame: Request, reply: (ok: any) => void, refuse: (error: Error) => void, tries: Backoff }} Waiting */
/** @typedef {"connected" | "reconnecting" | "offline"} Status */

export const SUBPROTOCOL = "callout.v1.json";
const CONNECT_S = 10;
const PATIENCE_S = 60;
const POLL_S = 25;
/** The number of failed attempts at a socket in a row after which polling begins. */
const BLOCKED = 2;
const FRESH = [4003, 4006];
const TOO_MANY = 4010;
/** An HTTP reply that takes longer counts as lost. A poll waits POLL_S for its reply. */
const ANSWER_S = POLL_S + 10;
/** Final refusals of a poll, with the close code that means the same for a socket.
 * @type {Record<string, number>} */
const ENDS = { unauthenticated: 4501, forbidden: 4502 };
const AGAIN = ["unavailable", "indeterminate", "in_flight", "rate_limited", "paused", "unreachable"];

/**
 * Socket ops as HTTP requests. The other ops need a socket and wait for it.
 * @type {Record<string, (args: any, me: string) => [string, string, any]>}
 */
const OVER_HTTP = {
  claim: ({ job, ...rest }) => ["POST", `/v1/jobs/${job}/claim`, rest],
  decline: ({ job, ...rest }) => ["POST", `/v1/jobs/${job}/respond`, { status: "rejected", ...rest }],
  command: ({ job, command, ...rest }) => ["POST", `/v1/jobs/${job}/${command}`, rest],
  availability: (args, me) => ["PUT", `/v1/technicians/${me}/availability`, args],
  location: (args, me) => ["PUT", `/v1/technicians/${me}/location`, args],
  say: ({ room, ...rest }) => ["POST", `/v1/rooms/${room}/messages`, rest],
  read: ({ room, ...rest }) => ["POST", `/v1/rooms/${room}/read`, rest],
};
/** Ops with an idempotency key: a repeated request is applied once. All of them can be HTTP requests. */
const KEYED = Object.keys(OVER_HTTP);

/** A refusal by the server, or (codes `unreachable`, `ended`) by this client: then the request may have been done. */
export class CalloutError extends Error {
  /** @param {any} problem the problem object of the server @param {string} [key] for a retry or `GET /v1/requests/{key}` */
  constructor(problem, key) {
    super(problem?.detail || problem?.title || problem?.code || "refused");
    this.problem = problem ?? {};
    /** @type {string} */ this.code = this.problem.code ?? "internal";
    this.key = key;
  }

  /** Whether the same request may be sent again. */
  get again() {
    return AGAIN.includes(this.code);
  }
}

/** Full jitter: each delay is uniform between 0 and a ceiling that doubles from 0.5 to 20 s, until `reset`. */
export class Backoff {
  tries = 0;

  /** @param {boolean} [later] from 10 to 20 s, for a client that was closed because it connects too often
   * @returns {number} the next wait, in ms */
  next(later = false) {
    if (later) return 10_000 * (1 + Math.random());
    return Math.random() * Math.min(20_000, 500 * 2 ** Math.min(this.tries++, 16));
  }

  reset() {
    this.tries = 0;
  }
}

/** Whether the client may reconnect after a close with `code`. @param {number} code */
export function comesBack(code) {
  if (code >= 4000) return code < 4500;
  return ![1002, 1003, 1007, 1009].includes(code);
}

/** The position up to which each zone has been handled. */
export class Cursors {
  /** @param {Places} [places] stored cursors */
  constructor(places = {}) {
    /** @type {Map<string, Place>} */ this.places = new Map(Object.entries(places));
    /** @type {Map<string, { seq: number, missed: number }>} */ this.joined = new Map();
  }

  /** A connection begins at these heads. Returns the zones in which events may have been lost.
   * @param {Record<string, any>} zones of the connect reply */
  join(zones) {
    this.joined.clear();
    const lost = Object.keys(zones).filter((zone) => !zones[zone].recovered);
    for (const [zone, { epoch, seq, missed }] of Object.entries(zones)) {
      // No cursor until the snapshot arrives: if the connection breaks before, the next one must not recover from 0.
      if (lost.includes(zone)) this.places.delete(zone);
      // The head counts as reached only after all missed events have arrived.
      else if (missed) this.joined.set(zone, { seq, missed });
      if (!lost.includes(zone)) this.reach(zone, epoch, missed ? 0 : seq);
    }
    return lost;
  }

  /** Whether `push` has not been handled before. @param {Push} push */
  isNew({ zone = "", seq = 0 }) {
    return seq > (this.places.get(zone)?.seq ?? 0);
  }

  /** A logged event of a socket was handled; it may be a repeat. @param {Push} push */
  handled({ zone = "", seq = 0 }) {
    const joined = this.joined.get(zone);
    if (joined && --joined.missed === 0) {
      this.joined.delete(zone);
      this.reach(zone, undefined, joined.seq);
    }
    this.reach(zone, undefined, seq);
  }

  /** Everything up to `seq` was handled. @param {string} zone @param {string | undefined} epoch @param {number} seq */
  reach(zone, epoch, seq) {
    const at = this.places.get(zone) ?? { epoch: "", seq: 0 };
    this.places.set(zone, { epoch: epoch ?? at.epoch, seq: Math.max(at.seq, seq) });
  }

  /** @returns {Places} */
  toJSON() {
    return Object.fromEntries(this.places);
  }

  /** As the `after` parameter of a poll: `main:e1:131,north:e2:9`. */
  toString() {
    return [...this.places].map(([zone, { epoch, seq }]) => `${zone}:${epoch}:${seq}`).join(",");
  }

  /** Parse cursors in either form. @param {string | Places} given @returns {Places} */
  static parse(given) {
    if (typeof given !== "string") return given ?? {};
    const places = given.split(",").filter(Boolean).map((place) => place.split(":"));
    return Object.fromEntries(places.map(([zone, epoch, seq]) => [zone, { epoch, seq: Number(seq) }]));
  }
}

/** @param {number} ms @param {AbortSignal} [signal] ends the wait at once */
function sleep(ms, signal) {
  return new Promise((done) => {
    if (signal?.aborted) return done(undefined);
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", () => done(clearTimeout(timer)), { once: true });
  });
}

/**
 * A connection that reconnects until `close()` or a close code that forbids it. It dispatches
 *
 * - `status` `{status, transport: "socket" | "polling" | null, code?, reason?}`. Offline is final until `open()`;
 * - `event` each push, once; logged ones in the order of the log. When the listeners return, it counts as handled;
 * - `sync` `{snapshot, zones, reasons}` at the first connection, and when events may have been lost in these zones:
 *   begin again from the snapshot of `/v1/sync` (null, with `error`, if it was refused);
 * - `frame` `{out, frame}` every frame of the socket, for a log.
 */
export class Callout extends EventTarget {
  /** @type {Status} */ status = "offline";
  /** @type {"socket" | "polling" | null} */ transport = null;
  /** Channels in addition to the user's own; sent at each connection. @type {Set<string>} */ subs = new Set();
  /** The last connect reply. @type {any} */ session = null;
  #ids = 0;
  #backoff = new Backoff();
  /** Requests without a reply. @type {Map<number, Waiting>} */ #waiting = new Map();
  /** Pushes of zones that wait for their snapshot. @type {Map<string, Push[]>} */ #held = new Map();
  /** @type {WebSocket | null} set from the connect reply on */ #socket = null;
  /** @type {((code: number, reason: string) => void) | null} */ #hangUp = null;
  #life = new AbortController();
  #wake = new AbortController();
  /** @type {AbortController | null} */ #polling = null;
  #stale = false;
  #me = "";

  /**
   * @param {object} options
   * @param {(fresh: boolean) => Promise<string>} options.token returns an access token; `fresh` if the last one was refused
   *   or is about to expire, so that a cached token must not be returned. If it throws, it is called again later.
   * @param {string} [options.url] of the server; default: the server of the page
   * @param {Places} [options.cursors] from which to resume, stored from `cursors.toJSON()`
   * @param {{ name: string, version: string, device?: string }} [options.app] `device` is one per open page: a later socket
   *   of the same device closes the earlier one for good
   */
  constructor({ token, url = location.origin, cursors, app }) {
    super();
    this.url = url.replace(/\/$/, "");
    this.cursors = new Cursors(cursors);
    this.token = token;
    this.app = app;
  }

  /** Start, or restart after `offline`. */
  open() {
    if (this.status !== "offline") return;
    this.#life = new AbortController();
    this.#tell("reconnecting");
    globalThis.addEventListener?.("online", this.#hurry);
    this.#live(this.#life.signal).catch((error) => this.#end(1002, String(error)));
  }

  /** Close the client. Pending requests are refused as `ended`. */
  close() {
    this.#end(1000, "closed");
  }

  /** Break the connection as a lost network does. The client reconnects. */
  cut() {
    this.#hangUp?.(1006, "cut");
  }

  /**
   * The `ok` of one operation. After a lost reply or a temporary refusal it is sent again with the same key, over
   * the connection that is open then. Rejects with a CalloutError; `unreachable` after a minute. `trace` (a
   * traceparent) of a claim, a decline or a command is stored with its event.
   * @param {string} op @param {Record<string, any>} [args] @returns {Promise<any>}
   */
  request(op, args = {}) {
    const id = ++this.#ids;
    const frame = { id, op, ...(KEYED.includes(op) ? { key: crypto.randomUUID() } : {}), ...args };
    if (op === "subscribe") this.subs.add(args.channel);
    if (op === "unsubscribe") this.subs.delete(args.channel);
    return new Promise((done, fail) => {
      /** @param {(value: any) => void} settle */
      const once = (settle) => (/** @type {any} */ value) => {
        if (this.#waiting.delete(id)) clearTimeout(timer), settle(value);
      };
      const waiting = { frame, reply: once(done), refuse: once(fail), tries: new Backoff() };
      const late = { code: "unreachable", title: `No answer to ${op} in ${PATIENCE_S} s: it may have been done` };
      const timer = setTimeout(() => waiting.refuse(new CalloutError(late, frame.key)), PATIENCE_S * 1000);
      this.#waiting.set(id, waiting);
      if (this.status === "offline") waiting.refuse(new CalloutError({ code: "ended", title: "Offline" }, frame.key));
      else this.#ask(waiting);
    });
  }

  /** Send an op that needs no reply and has no use later, such as `typing`. Dropped if there is no socket.
   * @param {string} op @param {Record<string, any>} [args] */
  send(op, args = {}) {
    if (this.#socket) this.#say(this.#socket, { op, ...args });
  }

  /**
   * One HTTP request as the user. A request that changes something has a key and is retried with it. Returns the
   * JSON of the reply, or null. Rejects with a CalloutError.
   * @param {string} method @param {string} path @param {any} [body]
   * @param {{ key?: string, patience?: number, signal?: AbortSignal, trace?: string }} [options] patience in seconds
   * @returns {Promise<any>}
   */
  async http(method, path, body, { key = crypto.randomUUID(), patience = PATIENCE_S, signal, trace } = {}) {
    const [backoff, end] = [new Backoff(), Date.now() + patience * 1000];
    for (let fresh = false; ; ) {
      /** @type {CalloutError} */ let error;
      try {
        return await this.#fetch(method, path, body, { key, fresh, signal, trace });
      } catch (refusal) {
        signal?.throwIfAborted();
        const lost = { code: "unreachable", title: String(refusal) };
        error = refusal instanceof CalloutError ? refusal : new CalloutError(lost, key);
      }
      if (error.code === "token_expired" && !fresh) {
        fresh = true;
        continue;
      }
      const wait = Math.max(backoff.next(), 1000 * (error.problem.retry_after ?? 0));
      if (!error.again || Date.now() + wait > end) throw error;
      await sleep(wait, signal);
    }
  }

  /** @param {string} method @param {string} path @param {any} body
   * @param {{ key: string, fresh: boolean, signal?: AbortSignal, trace?: string }} how */
  async #fetch(method, path, body, { key, fresh, signal, trace }) {
    /** @type {Record<string, string>} */
    const headers = { Authorization: `Bearer ${await this.token(fresh)}` };
    if (method !== "GET") headers["Idempotency-Key"] = key;
    if (body !== undefined) headers["Content-Type"] = "application/json";
    if (trace) headers.traceparent = trace;
    // fetch itself waits for ever on a dead connection without a close.
    const late = AbortSignal.timeout(1000 * ANSWER_S);
    const ends = signal ? AbortSignal.any([signal, late]) : late;
    const answer = await fetch(this.url + path, { method, headers, body: body && JSON.stringify(body), signal: ends });
    const text = await answer.text();
    /** @type {any} */ let told = null;
    try {
      told = text ? JSON.parse(text) : null;
    } catch {
      const code = answer.status < 500 ? "internal" : "unreachable"; // the error of a proxy, which promises nothing
      told = { code, title: `${answer.status} from something between` };
    }
    if (!answer.ok) throw new CalloutError(told ?? { code: "internal", title: `${answer.status}` }, key);
    return answer.headers.get("Idempotency-Replayed") ? { ...told, repeated: true } : told;
  }

  // the connection

  /** @param {AbortSignal} life */
  async #live(life) {
    for (let failed = 0; !life.aborted; ) {
      const { code, reason, joined } = await this.#connection(life);
      if (life.aborted) return;
      if (!comesBack(code)) return this.#end(code, reason);
      this.#stale = FRESH.includes(code);
      failed = joined ? 0 : failed + 1;
      if (failed >= BLOCKED) this.#startPolling();
      if (!this.#polling) this.#tell("reconnecting", { code, reason });
      this.#wake = new AbortController();
      await sleep(this.#backoff.next(code === TOO_MANY), this.#wake.signal);
    }
  }

  #hurry = () => this.#wake.abort();

  /** One socket from its opening to its end, however it ends.
   * @param {AbortSignal} life @returns {Promise<{ code: number, reason: string, joined: boolean }>} */
  #connection(life) {
    return new Promise((done) => {
      const socket = new WebSocket(this.url.replace(/^http/, "ws") + "/v1/ws", SUBPROTOCOL);
      const gone = new AbortController();
      let [timer, silence] = [0, CONNECT_S];
      const over = (/** @type {number} */ code, /** @type {string} */ reason) => {
        clearTimeout(timer);
        gone.abort();
        life.removeEventListener("abort", leave);
        socket.onopen = socket.onmessage = socket.onclose = null;
        socket.close();
        const joined = this.#socket === socket;
        this.#socket = this.#hangUp = null;
        done({ code, reason, joined });
      };
      const leave = () => over(1000, "closed");
      // The server pings, so silence means that the connection is dead.
      const listen = () => {
        clearTimeout(timer);
        timer = setTimeout(() => over(1006, `no word for ${silence} s`), silence * 1000);
      };
      life.addEventListener("abort", leave);
      this.#hangUp = over;
      listen();
      socket.onclose = ({ code, reason }) => over(code, reason);
      const greet = () => {
        this.#greet(socket).catch((error) => gone.signal.aborted || over(1013, `no token: ${error.message}`));
      };
      socket.onopen = () => {
        this.#stopPolling();
        greet();
      };
      socket.onmessage = ({ data }) => {
        const frame = JSON.parse(data);
        this.#emit("frame", { out: false, frame });
        if (this.#socket === socket) this.#hear(socket, frame);
        else if (frame.ok) silence = this.#join(socket, frame.ok, gone.signal);
        else if (frame.error?.temporary) over(1013, frame.error.code);
        else if (frame.error?.code === "token_expired" && !this.#stale) {
          this.#stale = true; // the server allows one more attempt; after any other refusal it closes
          greet();
        }
        if (!gone.signal.aborted) listen();
      };
    });
  }

  /** @param {WebSocket} socket */
  async #greet(socket) {
    const token = await this.token(this.#stale);
    const hello = { token, cursors: this.cursors.toJSON(), subs: [...this.subs], app: this.app };
    // The server may not know yet that the old socket is dead.
    const replaces = this.session?.session;
    if (socket.readyState === WebSocket.OPEN) this.#say(socket, { id: 0, op: "connect", ...hello, replaces });
  }

  /** @param {WebSocket} socket @param {any} ok @param {AbortSignal} gone
   * @returns {number} seconds after which silence means that the connection is dead */
  #join(socket, ok, gone) {
    this.#backoff.reset();
    [this.#socket, this.session, this.#stale, this.#me] = [socket, ok, false, ok.user.id];
    for (const { channel } of ok.refused ?? []) this.subs.delete(channel);
    this.#held.clear();
    const lost = this.cursors.join(ok.zones);
    this.#tell("connected", {}, "socket");
    if (lost.length) void this.#begin(Object.fromEntries(lost.map((zone) => [zone, ok.zones[zone]])), gone);
    this.#askAll();
    return 2 * ok.ping + ok.pong;
  }

  /** What the app knows of `zones` is not to be relied on: give it a snapshot, and only then what came meanwhile.
   * @param {Record<string, any>} zones their heads at joining @param {AbortSignal} gone @param {string} [why] */
  async #begin(zones, gone, why) {
    for (const zone in zones) this.#held.set(zone, []);
    /** @type {any} */ let snapshot = null;
    /** @type {any} */ let error;
    try {
      snapshot = await this.http("GET", "/v1/sync", undefined, { patience: Infinity, signal: gone });
    } catch (refusal) {
      error = refusal;
    }
    if (gone.aborted) return;
    const found = Cursors.parse(snapshot?.cursor);
    /** @type {string[]} */ const behind = [];
    for (const [zone, { epoch, seq }] of Object.entries(zones)) {
      const at = found[zone] ?? { epoch, seq };
      this.cursors.places.set(zone, at);
      if (at.epoch !== epoch || at.seq < seq) behind.push(zone);
    }
    const reasons = Object.fromEntries(Object.entries(zones).map(([zone, { reason }]) => [zone, reason ?? why]));
    this.#emit("sync", { snapshot, error, zones: Object.keys(zones), reasons });
    for (const zone in zones) {
      const held = this.#held.get(zone) ?? [];
      this.#held.delete(zone);
      if (!behind.includes(zone)) for (const push of held) this.#push(push);
    }
    // The snapshot is older than the start of this socket: the events between do not come on it, so reconnect.
    if (behind.length) this.cut();
  }

  // without a socket

  #startPolling() {
    if (this.#polling) return;
    this.#polling = new AbortController();
    this.#held.clear();
    this.cursors.joined.clear();
    void this.#poll(this.#polling.signal);
  }

  #stopPolling() {
    this.#polling?.abort();
    this.#polling = null;
  }

  /** @param {AbortSignal} signal */
  async #poll(signal) {
    const [backoff, once] = [new Backoff(), { patience: 0, signal }];
    while (!signal.aborted) {
      try {
        this.#me ||= (await this.http("GET", "/v1/me", undefined, once)).user.id;
        // The first poll does not wait, to learn at once whether polling works.
        const wait = this.transport === "polling" ? POLL_S : 0;
        const after = this.cursors.places.size ? `after=${this.cursors}&` : "";
        const path = `/v1/events?${after}wait=${wait}`;
        const { events, cursor, recovered, reason } = await this.http("GET", path, undefined, once);
        for (const push of events) this.#push(push);
        const places = Cursors.parse(cursor);
        if (!recovered) await this.#begin(places, signal, reason);
        else for (const zone in places) this.cursors.reach(zone, places[zone].epoch, places[zone].seq);
        if (signal.aborted) return;
        if (this.transport !== "polling") {
          this.#tell("connected", {}, "polling");
          this.#askAll();
        }
        backoff.reset();
      } catch (refusal) {
        if (signal.aborted) return;
        const error = /** @type {CalloutError} */ (refusal);
        if (error.code in ENDS) return this.#end(ENDS[error.code], error.code);
        this.#tell("reconnecting", { reason: error.message });
        await sleep(backoff.next(), signal);
      }
    }
  }

  /** @param {Waiting} waiting */
  async #askOverHttp(waiting) {
    const { id: _, op, key, trace, ...args } = waiting.frame;
    const [method, path, body] = OVER_HTTP[op](args, this.#me);
    try {
      waiting.reply((await this.http(method, path, body, { key, trace, patience: 0 })) ?? {});
    } catch (error) {
      this.#refused(waiting, /** @type {CalloutError} */ (error));
    }
  }

  // frames

  /** @param {WebSocket} socket @param {any} frame */
  #say(socket, frame) {
    this.#emit("frame", { out: true, frame });
    socket.send(JSON.stringify(frame));
  }

  #askAll() {
    for (const waiting of [...this.#waiting.values()]) this.#ask(waiting);
  }

  /** Send over the open connection. Without one, the next connection sends it. @param {Waiting} waiting */
  #ask(waiting) {
    if (this.#socket) this.#say(this.#socket, waiting.frame);
    else if (this.transport === "polling" && waiting.frame.op in OVER_HTTP) void this.#askOverHttp(waiting);
  }

  /** @param {Waiting} waiting @param {CalloutError} error */
  async #refused(waiting, error) {
    if (!error.again && waiting.frame.op === "subscribe") this.subs.delete(waiting.frame.channel);
    if (!error.again) return waiting.refuse(error);
    await sleep(Math.max(waiting.tries.next(), 1000 * (error.problem.retry_after ?? 0)));
    if (this.#waiting.get(waiting.frame.id ?? 0) === waiting) this.#ask(waiting);
  }

  /** @param {WebSocket} socket @param {any} frame */
  #hear(socket, frame) {
    const waiting = this.#waiting.get(frame.id);
    if (waiting && frame.ok) waiting.reply(frame.ok);
    else if (waiting) void this.#refused(waiting, new CalloutError(frame.error, waiting.frame.key));
    else if ("type" in frame) this.#push(frame);
    else if ("epoch" in frame && !this.#held.has(frame.zone)) this.cursors.reach(frame.zone, frame.epoch, frame.seq);
    else if (!Object.keys(frame).length) this.#say(socket, {});
  }

  /** @param {Push} push */
  #push(push) {
    if (push.seq === undefined) {
      if (push.type === "token.expiring") this.#refresh();
      return this.#emit("event", push);
    }
    const held = this.#held.get(push.zone ?? "");
    if (held) return held.push(push);
    if (this.cursors.isNew(push)) this.#emit("event", push);
    this.cursors.handled(push);
  }

  /** If this fails, the server closes with 4003, and the next connection gets a new token. */
  #refresh() {
    this.token(true).then((token) => this.request("refresh", { token })).catch(() => {});
  }

  /** @param {string} name @param {any} detail */
  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /** @param {Status} status @param {{ code?: number, reason?: string }} [why]
   * @param {"socket" | "polling" | null} [transport] */
  #tell(status, why = {}, transport = null) {
    [this.status, this.transport] = [status, transport];
    this.#emit("status", { status, transport, ...why });
  }

  /** @param {number} code @param {string} reason */
  #end(code, reason) {
    if (this.status === "offline") return;
    this.#tell("offline", { code, reason });
    globalThis.removeEventListener?.("online", this.#hurry);
    this.#stopPolling();
    this.#life.abort();
    this.#wake.abort();
    for (const waiting of [...this.#waiting.values()]) {
      waiting.refuse(new CalloutError({ code: "ended", title: reason || `closed with ${code}` }, waiting.frame.key));
    }
  }
}
