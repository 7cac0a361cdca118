// Callout in a browser: one module, no dependency.
//
//   import { Callout } from "/web/callout.js";
//   const callout = new Callout({ token: async (fresh) => … });
//   callout.addEventListener("event", ({ detail }) => show(detail));
//   callout.addEventListener("sync", ({ detail }) => begin(detail.snapshot));
//   callout.open();
//   const { job } = await callout.request("claim", { job: "job_…" });
//
// After a lost connection the client still has a cursor for each zone, and the requests without a reply. A request is
// sent again with its idempotency key, so the server recognises the request. An event at or below the cursor is a repeat.
//
// Polling is not a separate mode. The client always tries to open a socket, and polls between these attempts after two
// in a row have failed. (Rejected: to choose the transport once at the start. A client that is behind a bad proxy for a
// minute would then poll all day.)

/** @typedef {{ epoch: string, seq: number }} Cursor */
/** @typedef {Record<string, Cursor>} ZoneCursors cursors, by zone */
/** @typedef {{ type: string, event: string, zone?: string, seq?: number, at: string, data: any }} Push */
/** @typedef {{ id?: number, op: string, key?: string, [argument: string]: any }} Request */
/** @typedef {{ frame: Request, reply: (ok: any) => void, refuse: (error: Error) => void, tries: Backoff }} Waiting */
/** @typedef {"connected" | "reconnecting" | "offline"} Status */

export const SUBPROTOCOL = "callout.v1.json";
const CONNECT_TIMEOUT_S = 10;
const PATIENCE_S = 60;
const POLL_WAIT_S = 25;
/** Polling starts after this number of attempts to open a socket have failed in a row. */
const FAILURES_BEFORE_POLLING = 2;
const REAUTHENTICATE_CLOSE_CODES = [4003, 4006];
const RECONNECT_LATER_CLOSE_CODE = 4010;
/** After this time without a reply an HTTP request counts as lost. A poll waits POLL_WAIT_S seconds for its reply. */
const HTTP_TIMEOUT_S = POLL_WAIT_S + 10;
/** The error codes after which the client does not poll again. The value is the close code of a socket with the same
 * meaning.
 * @type {Record<string, number>} */
const CLOSE_CODES = { unauthenticated: 4501, forbidden: 4502 };
const RETRIED_ERROR_CODES = ["unavailable", "indeterminate", "in_flight", "rate_limited", "paused", "unreachable"];

/** For each socket op, the HTTP request with the same effect. Ops without an entry wait for a socket.
 * @type {Record<string, (args: any, me: string) => [string, string, any]>}
 */
const HTTP_ROUTES = {
  claim: ({ job, ...rest }) => ["POST", `/v1/jobs/${job}/claim`, rest],
  decline: ({ job, ...rest }) => ["POST", `/v1/jobs/${job}/respond`, { status: "rejected", ...rest }],
  command: ({ job, command, ...rest }) => ["POST", `/v1/jobs/${job}/${command}`, rest],
  availability: (args, me) => ["PUT", `/v1/technicians/${me}/availability`, args],
  location: (args, me) => ["PUT", `/v1/technicians/${me}/location`, args],
  say: ({ room, ...rest }) => ["POST", `/v1/rooms/${room}/messages`, rest],
  read: ({ room, ...rest }) => ["POST", `/v1/rooms/${room}/read`, rest],
};
/** Ops with an idempotency key: a repeated request is applied once. All of them can be HTTP requests. */
const KEYED_OPS = Object.keys(HTTP_ROUTES);

/** The error of a request. With the codes `unreachable` and `ended` there was no answer, so the request may have been
 * applied; any other code is a refusal by the server. */
export class CalloutError extends Error {
  /** @param {any} problem the problem object of the server @param {string} [key] for a retry or `GET /v1/requests/{key}` */
  constructor(problem, key) {
    super(problem?.detail || problem?.title || problem?.code || "refused");
    this.problem = problem ?? {};
    /** @type {string} */ this.code = this.problem.code ?? "internal";
    this.key = key;
  }

  /** Whether a retry with the same key may succeed. */
  get retryable() {
    return RETRIED_ERROR_CODES.includes(this.code);
  }
}

/** Delays with full jitter: each is uniform between 0 and a ceiling that doubles from 0.5 to 20 s, until `reset`. */
export class Backoff {
  tries = 0;

  /** Return the next delay, in ms. @param {boolean} [later] return a delay from 10 to 20 s, for a client whose
   * connection was closed because it connects too often @returns {number} */
  next(later = false) {
    if (later) return 10_000 * (1 + Math.random());
    return Math.random() * Math.min(20_000, 500 * 2 ** Math.min(this.tries++, 16));
  }

  /** Set the ceiling to 0.5 s again. Call this after a success. */
  reset() {
    this.tries = 0;
  }
}

/** Return whether the client may reconnect after a close with `code`. @param {number} code */
export function mayReconnect(code) {
  if (code >= 4000) return code < 4500;
  return ![1002, 1003, 1007, 1009].includes(code);
}

/** For each zone, the position in its log up to which the application has handled the events. */
export class Cursors {
  /** @param {ZoneCursors} [byZone] stored cursors */
  constructor(byZone = {}) {
    /** @type {Map<string, Cursor>} */ this.byZone = new Map(Object.entries(byZone));
    /** @type {Map<string, { seq: number, missed: number }>} */ this.joined = new Map();
  }

  /** Apply the zones of a connect reply. Return the zones in which events may have been lost.
   * @param {Record<string, any>} zones of the connect reply */
  joinZones(zones) {
    this.joined.clear();
    const lost = Object.keys(zones).filter((zone) => !zones[zone].recovered);
    for (const [zone, { epoch, seq, missed }] of Object.entries(zones)) {
      // No cursor until the snapshot arrives: if the connection is lost before, the next one must not resume from 0.
      if (lost.includes(zone)) this.byZone.delete(zone);
      // The cursor moves to the head of the log only after all missed events have arrived.
      else if (missed) this.joined.set(zone, { seq, missed });
      if (!lost.includes(zone)) this.advance(zone, epoch, missed ? 0 : seq);
    }
    return lost;
  }

  /** Return whether a logged push has not been handled before. @param {Push} push */
  isNew({ zone = "", seq = 0 }) {
    return seq > (this.byZone.get(zone)?.seq ?? 0);
  }

  /** Advance the cursor after a logged push was handled. The push may be a repeat. @param {Push} push */
  markHandled({ zone = "", seq = 0 }) {
    const joined = this.joined.get(zone);
    if (joined && --joined.missed === 0) {
      this.joined.delete(zone);
      this.advance(zone, undefined, joined.seq);
    }
    this.advance(zone, undefined, seq);
  }

  /** Advance the cursor of `zone` to `seq`; never move it back.
   * @param {string} zone @param {string | undefined} epoch @param {number} seq */
  advance(zone, epoch, seq) {
    const at = this.byZone.get(zone) ?? { epoch: "", seq: 0 };
    this.byZone.set(zone, { epoch: epoch ?? at.epoch, seq: Math.max(at.seq, seq) });
  }

  /** Return the cursors as an object that can be stored. @returns {ZoneCursors} */
  toJSON() {
    return Object.fromEntries(this.byZone);
  }

  /** Return the cursors as the `after` parameter of a poll: `main:e1:131,north:e2:9`. */
  toString() {
    return [...this.byZone].map(([zone, { epoch, seq }]) => `${zone}:${epoch}:${seq}`).join(",");
  }

  /** Parse cursors in either form. @param {string | ZoneCursors} given @returns {ZoneCursors} */
  static parse(given) {
    if (typeof given !== "string") return given ?? {};
    const places = given.split(",").filter(Boolean).map((place) => place.split(":"));
    return Object.fromEntries(places.map(([zone, epoch, seq]) => [zone, { epoch, seq: Number(seq) }]));
  }
}

/** Wait `ms` milliseconds. @param {number} ms @param {AbortSignal} [signal] ends the wait at once */
function sleep(ms, signal) {
  return new Promise((done) => {
    if (signal?.aborted) return done(undefined);
    const timer = setTimeout(done, ms);
    signal?.addEventListener("abort", () => done(clearTimeout(timer)), { once: true });
  });
}

/** A connection of one user. It reconnects until `close()` is called or a close code forbids it. It dispatches
 *
 * - `status` `{status, transport: "socket" | "polling" | null, code?, reason?}`. Offline is final until `open()`;
 * - `event` each push, once, and logged pushes in the order of the log. When the listeners return, it counts as
 *   handled;
 * - `sync` `{snapshot, zones, reasons}` at the first connection, and when events may have been lost in these zones:
 *   begin again from the snapshot of `/v1/sync` (null, with `error`, if it was refused);
 * - `frame` `{out, frame}` every frame of the socket, for a log.
 */
export class Callout extends EventTarget {
  /** @type {Status} */ status = "offline";
  /** @type {"socket" | "polling" | null} */ transport = null;
  /** The channels that each connection subscribes besides the user's own. @type {Set<string>} */ subs = new Set();
  /** The last connect reply. @type {any} */ session = null;
  /** Options by channel: the map of a zone has a box. @type {Map<string, any>} */ #subOptions = new Map();
  /** The user's id; "" before the first connection. */ userId = "";
  #lastId = 0;
  #backoff = new Backoff();
  /** Requests without a reply. @type {Map<number, Waiting>} */ #pending = new Map();
  /** Pushes of zones that wait for their snapshot. @type {Map<string, Push[]>} */ #buffered = new Map();
  /** @type {WebSocket | null} set from the connect reply on */ #socket = null;
  /** @type {((code: number, reason: string) => void) | null} */ #closeSocket = null;
  #clientEnd = new AbortController();
  #wake = new AbortController();
  /** @type {AbortController | null} */ #polling = null;
  #needsFreshToken = false;

  /**
   * @param {object} options
   * @param {(fresh: boolean) => Promise<string>} options.token returns an access token; `fresh` if the last one was refused
   *   or is about to expire, so that a cached token must not be returned. If it throws, it is called again later.
   * @param {string} [options.url] of the server; default: the server of the page
   * @param {ZoneCursors} [options.cursors] from which to resume, stored from `cursors.toJSON()`
   * @param {{ name: string, version: string, device?: string }} [options.app] `device` is an id of the open page: a
   * later socket with the same id closes the earlier one for good
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
    this.#clientEnd = new AbortController();
    this.#setStatus("reconnecting");
    globalThis.addEventListener?.("online", this.#retryNow);
    this.#reconnectForever(this.#clientEnd.signal).catch((error) => this.#end(1002, String(error)));
  }

  /** Close the client. Pending requests are refused as `ended`. */
  close() {
    this.#end(1000, "closed");
  }

  /** Break the connection as a lost network does. The client reconnects. */
  cut() {
    this.#closeSocket?.(1006, "cut");
  }

  /**
   * Send one operation and return the `ok` of its reply. After a lost reply or a temporary refusal, send the operation
   * again with the same key over the present connection. Rejects with a CalloutError; `unreachable` after a minute.
   * `trace` (a traceparent) of a claim, a decline or a command is stored with its event.
   * @param {string} op @param {Record<string, any>} [args] @returns {Promise<any>}
   */
  request(op, args = {}) {
    const id = ++this.#lastId;
    const frame = { id, op, ...(KEYED_OPS.includes(op) ? { key: crypto.randomUUID() } : {}), ...args };
    if (op === "subscribe") this.subs.add(args.channel), this.#subOptions.set(args.channel, args);
    if (op === "unsubscribe") this.subs.delete(args.channel);
    return new Promise((done, fail) => {
      /** @param {(value: any) => void} settle */
      const once = (settle) => (/** @type {any} */ value) => {
        if (this.#pending.delete(id)) clearTimeout(timer), settle(value);
      };
      const waiting = { frame, reply: once(done), refuse: once(fail), tries: new Backoff() };
      const late = { code: "unreachable", title: `No answer to ${op} in ${PATIENCE_S} s: it may have been done` };
      const timer = setTimeout(() => waiting.refuse(new CalloutError(late, frame.key)), PATIENCE_S * 1000);
      this.#pending.set(id, waiting);
      if (this.status === "offline") waiting.refuse(new CalloutError({ code: "ended", title: "Offline" }, frame.key));
      else this.#dispatch(waiting);
    });
  }

  /** Send an operation without a reply, such as `typing`. Do nothing if there is no socket.
   * @param {string} op @param {Record<string, any>} [args] */
  send(op, args = {}) {
    if (this.#socket) this.#sendFrame(this.#socket, { op, ...args });
  }

  /**
   * Send one HTTP request as the user. A request that changes something has a key, and its retries have the same key.
   * Return the JSON of the reply, or null. Rejects with a CalloutError.
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
      if (!error.retryable || Date.now() + wait > end) throw error;
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
    // Without this limit, fetch waits forever on a connection that is dead but not closed.
    const late = AbortSignal.timeout(1000 * HTTP_TIMEOUT_S);
    const ends = signal ? AbortSignal.any([signal, late]) : late;
    const answer = await fetch(this.url + path, { method, headers, body: body && JSON.stringify(body), signal: ends });
    const text = await answer.text();
    /** @type {any} */ let content = null;
    try {
      content = text ? JSON.parse(text) : null;
    } catch {
      const code = answer.status < 500 ? "internal" : "unreachable"; // an error page of a proxy
      content = { code, title: `${answer.status} from something between` };
    }
    if (!answer.ok) throw new CalloutError(content ?? { code: "internal", title: `${answer.status}` }, key);
    return answer.headers.get("Idempotency-Replayed") ? { ...content, repeated: true } : content;
  }

  // the connection

  /** @param {AbortSignal} endSignal */
  async #reconnectForever(endSignal) {
    for (let failed = 0; !endSignal.aborted; ) {
      const { code, reason, joined } = await this.#connectOnce(endSignal);
      if (endSignal.aborted) return;
      if (!mayReconnect(code)) return this.#end(code, reason);
      this.#needsFreshToken = REAUTHENTICATE_CLOSE_CODES.includes(code);
      failed = joined ? 0 : failed + 1;
      if (failed >= FAILURES_BEFORE_POLLING) this.#startPolling();
      if (!this.#polling) this.#setStatus("reconnecting", { code, reason });
      this.#wake = new AbortController();
      await sleep(this.#backoff.next(code === RECONNECT_LATER_CLOSE_CODE), this.#wake.signal);
    }
  }

  #retryNow = () => this.#wake.abort();

  /** Connect and read until the socket closes. Return how it ended; `joined`: `connect` succeeded.
   * @param {AbortSignal} endSignal @returns {Promise<{ code: number, reason: string, joined: boolean }>} */
  #connectOnce(endSignal) {
    return new Promise((done) => {
      const socket = new WebSocket(this.url.replace(/^http/, "ws") + "/v1/ws", SUBPROTOCOL);
      const closed = new AbortController();
      let [timer, silence] = [0, CONNECT_TIMEOUT_S];
      const finish = (/** @type {number} */ code, /** @type {string} */ reason) => {
        clearTimeout(timer);
        closed.abort();
        endSignal.removeEventListener("abort", closeForGood);
        socket.onopen = socket.onmessage = socket.onclose = null;
        socket.close();
        const joined = this.#socket === socket;
        this.#socket = this.#closeSocket = null;
        done({ code, reason, joined });
      };
      const closeForGood = () => finish(1000, "closed");
      // The server pings, so silence means that the connection is dead.
      const restartTimer = () => {
        clearTimeout(timer);
        timer = setTimeout(() => finish(1006, `no message for ${silence} s`), silence * 1000);
      };
      endSignal.addEventListener("abort", closeForGood);
      this.#closeSocket = finish;
      restartTimer();
      socket.onclose = ({ code, reason }) => finish(code, reason);
      const sendConnect = () => {
        this.#sendConnect(socket).catch((error) => closed.signal.aborted || finish(1013, `no token: ${error.message}`));
      };
      socket.onopen = () => {
        this.#stopPolling();
        sendConnect();
      };
      socket.onmessage = ({ data }) => {
        const frame = JSON.parse(data);
        this.#emit("frame", { out: false, frame });
        if (this.#socket === socket) this.#handleFrame(socket, frame);
        else if (frame.ok) silence = this.#handleConnectReply(socket, frame.ok, closed.signal);
        else if (frame.error?.temporary) finish(1013, frame.error.code);
        else if (frame.error?.code === "token_expired" && !this.#needsFreshToken) {
          this.#needsFreshToken = true; // the server allows one more attempt; after any other refusal it closes
          sendConnect();
        }
        if (!closed.signal.aborted) restartTimer();
      };
    });
  }

  /** @param {WebSocket} socket */
  async #sendConnect(socket) {
    const token = await this.token(this.#needsFreshToken);
    const subs = [...this.subs].map((channel) => this.#subOptions.get(channel) ?? channel);
    const hello = { token, cursors: this.cursors.toJSON(), subs, app: this.app };
    // The server may still count the old socket as open, so name the session that this connection replaces.
    const replaces = this.session?.session;
    if (socket.readyState === WebSocket.OPEN) this.#sendFrame(socket, { id: 0, op: "connect", ...hello, replaces });
  }

  /** @param {WebSocket} socket @param {any} ok @param {AbortSignal} closed
   * @returns {number} seconds after which silence means that the connection is dead */
  #handleConnectReply(socket, ok, closed) {
    this.#backoff.reset();
    [this.#socket, this.session, this.#needsFreshToken, this.userId] = [socket, ok, false, ok.user.id];
    for (const { channel } of ok.refused ?? []) this.subs.delete(channel);
    this.#buffered.clear();
    const lost = this.cursors.joinZones(ok.zones);
    this.#setStatus("connected", {}, "socket");
    if (lost.length) void this.#resync(Object.fromEntries(lost.map((zone) => [zone, ok.zones[zone]])), closed);
    this.#dispatchAll();
    return 2 * ok.ping + ok.pong;
  }

  /** Request a snapshot, dispatch `sync`, and then deliver the pushes of `zones` that waited for it.
   * @param {Record<string, any>} zones heads of the connect reply @param {AbortSignal} closed @param {string} [why] */
  async #resync(zones, closed, why) {
    for (const zone in zones) this.#buffered.set(zone, []);
    /** @type {any} */ let snapshot = null;
    /** @type {any} */ let error;
    try {
      snapshot = await this.http("GET", "/v1/sync", undefined, { patience: Infinity, signal: closed });
    } catch (refusal) {
      error = refusal;
    }
    if (closed.aborted) return;
    const found = Cursors.parse(snapshot?.cursor);
    /** @type {string[]} */ const behind = [];
    for (const [zone, { epoch, seq }] of Object.entries(zones)) {
      const at = found[zone] ?? { epoch, seq };
      this.cursors.byZone.set(zone, at);
      if (at.epoch !== epoch || at.seq < seq) behind.push(zone);
    }
    const reasons = Object.fromEntries(Object.entries(zones).map(([zone, { reason }]) => [zone, reason ?? why]));
    this.#emit("sync", { snapshot, error, zones: Object.keys(zones), reasons });
    for (const zone in zones) {
      const buffered = this.#buffered.get(zone) ?? [];
      this.#buffered.delete(zone);
      if (!behind.includes(zone)) for (const push of buffered) this.#deliverPush(push);
    }
    // The events between the snapshot and the head do not come on this socket, so reconnect from the snapshot.
    if (behind.length) this.cut();
  }

  // without a socket

  #startPolling() {
    if (this.#polling) return;
    this.#polling = new AbortController();
    this.#buffered.clear();
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
        this.userId ||= (await this.http("GET", "/v1/me", undefined, once)).user.id;
        // The first poll does not wait for events, to find out at once whether polling works.
        const wait = this.transport === "polling" ? POLL_WAIT_S : 0;
        const after = this.cursors.byZone.size ? `after=${this.cursors}&` : "";
        const path = `/v1/events?${after}wait=${wait}`;
        const { events, cursor, recovered, reason } = await this.http("GET", path, undefined, once);
        for (const push of events) this.#deliverPush(push);
        const places = Cursors.parse(cursor);
        if (!recovered) await this.#resync(places, signal, reason);
        else for (const zone in places) this.cursors.advance(zone, places[zone].epoch, places[zone].seq);
        if (signal.aborted) return;
        if (this.transport !== "polling") {
          this.#setStatus("connected", {}, "polling");
          this.#dispatchAll();
        }
        backoff.reset();
      } catch (refusal) {
        if (signal.aborted) return;
        const error = /** @type {CalloutError} */ (refusal);
        if (error.code in CLOSE_CODES) return this.#end(CLOSE_CODES[error.code], error.code);
        this.#setStatus("reconnecting", { reason: error.message });
        await sleep(backoff.next(), signal);
      }
    }
  }

  /** @param {Waiting} waiting */
  async #dispatchOverHttp(waiting) {
    const { id: _, op, key, trace, ...args } = waiting.frame;
    const [method, path, body] = HTTP_ROUTES[op](args, this.userId);
    try {
      waiting.reply((await this.http(method, path, body, { key, trace, patience: 0 })) ?? {});
    } catch (error) {
      this.#handleRefusal(waiting, /** @type {CalloutError} */ (error));
    }
  }

  // frames

  /** @param {WebSocket} socket @param {any} frame */
  #sendFrame(socket, frame) {
    this.#emit("frame", { out: true, frame });
    socket.send(JSON.stringify(frame));
  }

  #dispatchAll() {
    for (const waiting of [...this.#pending.values()]) this.#dispatch(waiting);
  }

  /** Send over the open connection. Without a connection, the next one sends the request. @param {Waiting} waiting */
  #dispatch(waiting) {
    if (this.#socket) this.#sendFrame(this.#socket, waiting.frame);
    else if (this.transport === "polling" && waiting.frame.op in HTTP_ROUTES) void this.#dispatchOverHttp(waiting);
  }

  /** @param {Waiting} waiting @param {CalloutError} error */
  async #handleRefusal(waiting, error) {
    if (!error.retryable && waiting.frame.op === "subscribe") this.subs.delete(waiting.frame.channel);
    if (!error.retryable) return waiting.refuse(error);
    await sleep(Math.max(waiting.tries.next(), 1000 * (error.problem.retry_after ?? 0)));
    if (this.#pending.get(waiting.frame.id ?? 0) === waiting) this.#dispatch(waiting);
  }

  /** @param {WebSocket} socket @param {any} frame */
  #handleFrame(socket, frame) {
    const waiting = this.#pending.get(frame.id);
    if (waiting && frame.ok) waiting.reply(frame.ok);
    else if (waiting) void this.#handleRefusal(waiting, new CalloutError(frame.error, waiting.frame.key));
    else if ("type" in frame) this.#deliverPush(frame);
    else if ("epoch" in frame && !this.#buffered.has(frame.zone)) this.cursors.advance(frame.zone, frame.epoch, frame.seq);
    else if (!Object.keys(frame).length) this.#sendFrame(socket, {});
  }

  /** @param {Push} push */
  #deliverPush(push) {
    if (push.seq === undefined) {
      if (push.type === "token.expiring") this.#refresh();
      return this.#emit("event", push);
    }
    const buffered = this.#buffered.get(push.zone ?? "");
    if (buffered) return buffered.push(push);
    if (this.cursors.isNew(push)) this.#emit("event", push);
    this.cursors.markHandled(push);
  }

  /** Renew the access token. If this fails, the server closes with 4003, and the next connection gets a new token. */
  #refresh() {
    this.token(true).then((token) => this.request("refresh", { token })).catch(() => {});
  }

  /** @param {string} name @param {any} detail */
  #emit(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  /** @param {Status} status @param {{ code?: number, reason?: string }} [why]
   * @param {"socket" | "polling" | null} [transport] */
  #setStatus(status, why = {}, transport = null) {
    [this.status, this.transport] = [status, transport];
    this.#emit("status", { status, transport, ...why });
  }

  /** @param {number} code @param {string} reason */
  #end(code, reason) {
    if (this.status === "offline") return;
    this.#setStatus("offline", { code, reason });
    globalThis.removeEventListener?.("online", this.#retryNow);
    this.#stopPolling();
    this.#clientEnd.abort();
    this.#wake.abort();
    for (const waiting of [...this.#pending.values()]) {
      waiting.refuse(new CalloutError({ code: "ended", title: reason || `closed with ${code}` }, waiting.frame.key));
    }
  }
}
