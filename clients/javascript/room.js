// A chat room as one user sees it: its messages, without gaps or repeats, its members, and who is typing.
//
//   import { Room } from "/web/room.js";
//   const room = new Room(callout, "room_…");
//   room.addEventListener("change", () => show(room.messages));
//   await room.open();
//   room.say("Hello");
//
// The room does not depend on the zone's cursor. After each connection it reads the messages above the highest number
// that it knows. So a member of a busy room misses nothing, even if the client's events could not be recovered.

/** @typedef {import("./callout.js").Callout} Callout */
/**
 * A message. A message without `n` is one of the user that the server has not stored yet: its `state` is `sending`, or
 * `failed` with the `code` of the refusal.
 * @typedef {{ n?: number, id?: string, text: string, client_id: string, sender: { id: string }, files: string[],
 *   state?: "sending" | "failed", code?: string, [name: string]: any }} Message */

const PAGE_SIZE = 50;
/** How long a missing message may be late before the room requests it: the answer to `say` may overtake
 * earlier pushes. */
const HOLE_WAIT_MS = 1000;
/** The shortest time between two typing notices that a client sends: the server accepts one a second. */
const TYPING_INTERVAL_MS = 1000;
/** How long a typing notice is shown, if neither another notice nor a message of that user follows. */
const TYPING_SHOWN_MS = 6000;
const NOT_MEMBER_ERROR_CODES = ["not_member", "not_found", "forbidden"];

/** Wait `ms` milliseconds. @param {number} ms */
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));

/** One chat room over the connection of a `Callout`. It dispatches `change` after each change. */
export class Room extends EventTarget {
  /** The room as last returned, with the changes of later events; null before `open`. @type {any} */ document = null;
  /** How far each member has read. @type {Map<string, number>} */ reads = new Map();
  #hasLeft = false;
  /** @type {Message[]} in order, without a hole */ #numbered = [];
  /** Own messages without a number. @type {Map<string, Message>} */ #unnumbered = new Map();
  /** Messages that wait for messages before them. @type {Map<number, Message>} */ #early = new Map();
  #lastN = 0;
  #reachedOldest = false;
  /** The number of the latest read of the room. The result of an earlier read is ignored. */ #turn = 0;
  #isResuming = false;
  #isSending = false;
  /** By `client_id`: stops sending a message that came as a push. @type {Map<string, () => void>} */ #pushed = new Map();
  #wantedMark = 0;
  #isMarking = false;
  /** @type {Map<string, number>} timers by user */ #typing = new Map();
  #typingTimer = 0;
  #typingAt = 0;
  #isTyping = false;
  /** @type {{ done: () => void, fail: (error: any) => void } | null} */ #opening = null;
  #callout;

  /** @param {Callout} callout @param {string} id */
  constructor(callout, id) {
    super();
    this.id = id;
    this.#callout = callout;
  }

  /** The known messages in the order of their numbers, then the user's own messages without a number, in the order in
   * which they were said. @returns {Message[]} */
  get messages() {
    return [...this.#numbered, ...this.#unnumbered.values()];
  }

  /** `open`, `closed`, or `left` if the user is not a member any more; "" before `open`. @returns {string} */
  get state() {
    return this.#hasLeft ? "left" : (this.document?.state ?? "");
  }

  /** The members; of a room with more than 64, those that the server named. @returns {any[]} */
  get members() {
    return this.document?.members ?? [];
  }

  /** The ids of the others who type now. */
  get typingUsers() {
    return [...this.#typing.keys()];
  }

  /** Whether `loadOlder` may find older messages. */
  get hasOlder() {
    return !this.#reachedOldest && (this.#numbered[0]?.n ?? 0) > this.#fromN + 1;
  }

  /** How many known messages are above the user's read mark. */
  get unread() {
    return Math.max(0, this.#lastN - Math.max(this.#fromN, this.reads.get(this.#me) ?? 0));
  }

  get #me() {
    return this.#callout.userId;
  }

  get #fromN() {
    return this.members.find(({ id }) => id === this.#me)?.from_n ?? 0;
  }

  /** Read the room and its last messages, and follow it. Rejects if the user is not a member (`not_member`), or if the
   * client is offline (`ended`): with an error that has a `code`. @returns {Promise<void>} */
  async open() {
    this.#callout.addEventListener("event", this.#onEvent);
    this.#callout.addEventListener("status", this.#onStatus);
    this.#callout.addEventListener("sync", this.#onSync);
    try {
      await new Promise((done, fail) => {
        this.#opening = { done: () => done(undefined), fail };
        this.#onStatus({ detail: this.#callout });
      });
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Stop following the room. Messages that were not answered are not sent any more. */
  close() {
    this.#turn++;
    this.#callout.removeEventListener("event", this.#onEvent);
    this.#callout.removeEventListener("status", this.#onStatus);
    this.#callout.removeEventListener("sync", this.#onSync);
    for (const timer of [...this.#typing.values(), this.#typingTimer]) clearTimeout(timer);
    for (const [id, { state }] of this.#unnumbered) if (state === "sending") this.#unnumbered.delete(id);
    this.#callout.send("leave", { room: this.id });
  }

  // what the user does

  /** Say a message, and return it in the state `sending`, as it now stands in `messages`. It is sent until it is
   * answered or refused,
   * always with the same `client_id`, one message after the other. With the `client_id` of a failed message, or of one
   * that an earlier page sent without an answer, it counts as the same message: the server stores it once.
   * @param {string} text @param {{ client_id?: string, files?: string[] }} [options] @returns {Message}
   */
  say(text, { client_id = crypto.randomUUID(), files = [] } = {}) {
    /** @type {Message} */ const message = { text, client_id, sender: { id: this.#me }, files, state: "sending" };
    this.#unnumbered.delete(client_id);
    this.#unnumbered.set(client_id, message);
    void this.#sendAll();
    this.#notify();
    return message;
  }

  /** Remove a failed message. @param {string} client_id */
  discard(client_id) {
    this.#unnumbered.delete(client_id);
    this.#notify();
  }

  /** Read one page of older messages. Return whether there are older ones still. @returns {Promise<boolean>} */
  async loadOlder() {
    if (!this.hasOlder) return false;
    const { items, next } = await this.#readPage(`&before=${this.#numbered[0].n}`);
    const first = this.#numbered[0].n ?? 0;
    this.#numbered.unshift(...items.filter(({ n }) => n < first).reverse());
    this.#reachedOldest = next === null;
    this.#notify();
    return this.hasOlder;
  }

  /** Move the read mark forward to message `n`, or to the last known one. A lower `n` does nothing.
   * @param {number} [n] */
  async read(n = this.#lastN) {
    this.#wantedMark = Math.max(this.#wantedMark, Math.min(n, this.#lastN));
    if (this.#isMarking) return;
    this.#isMarking = true;
    try {
      for (let sent = 0; this.#wantedMark > Math.max(sent, this.reads.get(this.#me) ?? 0); ) {
        sent = this.#wantedMark;
        const answer = await this.#callout.request("read", { room: this.id, n: sent });
        this.#advanceMark(this.#me, answer.n);
        this.#notify();
      }
    } catch {
      // If this failed, the next connection or the next call sends the mark.
    } finally {
      this.#isMarking = false;
    }
  }

  /** Tell the others that the user types, or stopped. Call it at each key: at most one notice a second is sent.
   * @param {boolean} [on] */
  typing(on = true) {
    this.#isTyping = on;
    this.#typingTimer ||= setTimeout(() => {
      [this.#typingTimer, this.#typingAt] = [0, Date.now() + TYPING_INTERVAL_MS];
      this.#callout.send("typing", { room: this.id, on: this.#isTyping });
    }, Math.max(0, this.#typingAt - Date.now()));
  }

  // Sending. Messages are sent one by one, so that a message that is sent again after a lost connection stays before
  // later ones.

  async #sendAll() {
    if (this.#isSending) return;
    this.#isSending = true;
    try {
      for (let message; (message = this.#nextUnsent()); ) await this.#sendOne(message);
    } catch {
      // The client is offline. The next connection sends the rest.
    } finally {
      this.#isSending = false;
    }
  }

  #nextUnsent() {
    const answered = new Set([...this.#early.values()].map(({ client_id }) => client_id));
    return [...this.#unnumbered.values()].find((own) => own.state === "sending" && !answered.has(own.client_id));
  }

  /** @param {Message} message */
  async #sendOne({ text, client_id, files }) {
    const pushed = new Promise((done) => this.#pushed.set(client_id, () => done(null)));
    const asking = this.#callout.request("say", { room: this.id, text, client_id, ...(files.length ? { files } : {}) });
    asking.catch(() => {}); // it may fail after the push has come
    try {
      const answer = await Promise.race([asking, pushed]);
      if (answer) this.#addMessage(answer.message);
    } catch (refusal) {
      const error = /** @type {import("./callout.js").CalloutError} */ (refusal);
      if (error.code === "ended") throw error;
      const own = this.#unnumbered.get(client_id);
      if (own && !error.retryable) this.#unnumbered.set(client_id, { ...own, state: "failed", code: error.code });
    } finally {
      this.#pushed.delete(client_id);
    }
    this.#notify();
  }

  // what the server sends

  #onEvent = (/** @type {any} */ { detail: { type, data } }) => {
    if (type === "message.created" && data.message.room === this.id) this.#addMessage(data.message);
    else if (type === "typing" && data.room === this.id) this.#handleTyping(data.user, data.on);
    else if (type.startsWith("room.") && data.room.id === this.id) this.#applyRoomEvent(type, data);
    else return;
    this.#notify();
  };

  /** Read the messages again after each snapshot: it contains none, and events from before it are not dispatched any
   * more. */
  #onSync = () => {
    if (this.#callout.status === "connected") void this.#resume();
  };

  #onStatus = (/** @type {any} */ { detail: { status } }) => {
    if (status === "connected") void this.#resume();
    else if (status === "offline") this.#opening?.fail(Object.assign(new Error("Offline"), { code: "ended" }));
  };

  /** @param {string} type @param {any} data */
  #applyRoomEvent(type, { room, user, n }) {
    this.#takeRoom(room);
    if (type === "room.read") this.#advanceMark(user.id, n);
    else if (type === "room.left" && user.id === this.#me) this.#hasLeft = true;
    else if (this.#hasLeft && (type === "room.opened" || user?.id === this.#me)) void this.#resume();
  }

  /** Replace the known room by the one of an answer or event. An event of a large room names only some of the members.
   * @param {any} room */
  #takeRoom(room) {
    const members = new Map((room.members_n ? this.members : []).map((member) => [member.id, member]));
    for (const member of room.members) members.set(member.id, member);
    this.document = { ...this.document, ...room, members: [...members.values()] };
    for (const mark of room.reads ?? []) this.#advanceMark(mark.user, mark.n);
  }

  /** @param {string} user @param {number} n */
  #advanceMark(user, n) {
    this.reads.set(user, Math.max(n, this.reads.get(user) ?? 0));
  }

  /** Show for some seconds that a user types; or show it no longer. @param {string} user @param {boolean} on */
  #handleTyping(user, on) {
    clearTimeout(this.#typing.get(user));
    this.#typing.delete(user);
    if (!on) return;
    this.#typing.set(user, setTimeout(() => (this.#handleTyping(user, false), this.#notify()), TYPING_SHOWN_MS));
  }

  /** Add a message from a push or an answer. @param {any} message */
  #addMessage(message) {
    const { n, sender, client_id } = message;
    if (n > this.#lastN) this.#early.set(n, message);
    else this.#removeOwn(message);
    this.#addNewer([]);
    this.#handleTyping(sender.id, false);
    this.#advanceMark(sender.id, n); // to say something is to have read what was said before
    if (sender.id === this.#me) this.#pushed.get(client_id)?.();
    if (this.#early.size && !this.#isResuming) void this.#fillHole();
  }

  /** Append messages that the server returned as the next ones, and those that waited for them. Their numbers may begin
   * above the next one: a member who left and came back never sees the messages between. @param {any[]} page */
  #addNewer(page) {
    for (const message of page) if (message.n > this.#lastN) this.#append(message);
    for (let next; (next = this.#early.get(this.#lastN + 1)); ) this.#append(next);
  }

  /** @param {any} message */
  #append(message) {
    this.#numbered.push(message);
    this.#lastN = message.n;
    for (const n of this.#early.keys()) if (n <= message.n) this.#early.delete(n);
    this.#removeOwn(message);
  }

  /** Remove the own message without a number that this stored message answers. @param {any} message */
  #removeOwn({ client_id, sender }) {
    if (this.#unnumbered.get(client_id)?.sender.id === sender.id) this.#unnumbered.delete(client_id);
  }

  // resuming

  async #resume() {
    const turn = ++this.#turn;
    this.#isResuming = true;
    await null; // the client sends its waiting requests first
    for (let tries = 0; turn === this.#turn; tries++) {
      try {
        const room = await this.#readRoom();
        if (turn !== this.#turn) return;
        [this.#hasLeft, this.#isResuming] = [false, false];
        this.#takeRoom(room);
        this.#opening?.done();
        void this.#sendAll();
        void this.read(this.#wantedMark);
        return this.#notify();
      } catch (refusal) {
        const error = /** @type {import("./callout.js").CalloutError} */ (refusal);
        if (turn !== this.#turn || error.code === "ended") return;
        if (NOT_MEMBER_ERROR_CODES.includes(error.code)) return this.#handleNoMember(error);
      }
      await sleep(Math.random() * Math.min(20_000, 500 * 2 ** tries));
    }
  }

  /** @param {any} error */
  #handleNoMember(error) {
    [this.#hasLeft, this.#isResuming] = [true, false];
    this.#opening?.fail(error);
    this.#notify();
  }

  /** Return the room. Before that, add its last messages and all messages between them and the known ones. On a socket
   * this joins the room, so that the socket also receives who is typing. @returns {Promise<any>} */
  async #readRoom() {
    /** @type {any} */ let answer;
    if (this.#callout.transport === "socket") answer = await this.#callout.request("join", { room: this.id });
    else {
      answer = await this.#callout.http("GET", `/v1/rooms/${this.id}`);
      answer.messages = (await this.#readPage("")).items.reverse();
    }
    const [first] = answer.messages;
    if (this.#lastN && first?.n > this.#lastN + 1) await this.#readNewer();
    this.#addNewer(answer.messages);
    if (this.#early.size) await this.#readNewer();
    return answer.room;
  }

  /** Add all messages above the highest known number. */
  async #readNewer() {
    const early = [...this.#early.keys()].sort((one, other) => one - other);
    for (let next = ""; next !== null; ) {
      const page = await this.#readPage(`&after=${this.#lastN}`);
      this.#addNewer(page.items);
      next = page.next;
    }
    // These messages were pushed before the room was read, so no message can come before them any more.
    for (const n of early) this.#addNewer([this.#early.get(n)].filter(Boolean));
  }

  async #fillHole() {
    this.#isResuming = true;
    const turn = this.#turn;
    try {
      await sleep(HOLE_WAIT_MS);
      if (this.#early.size && turn === this.#turn) await this.#readNewer();
    } catch {
      // If this failed, the next push or connection tries again.
    } finally {
      if (turn === this.#turn) this.#isResuming = false;
    }
    this.#notify();
  }

  /** @param {string} place @returns {Promise<{ items: any[], next: string | null }>} */
  #readPage(place) {
    return this.#callout.http("GET", `/v1/rooms/${this.id}/messages?limit=${PAGE_SIZE}${place}`);
  }

  #notify() {
    this.dispatchEvent(new Event("change"));
  }
}
