// The session of one app: who is signed in, and their access token, which is in the memory of the page alone. The refresh
// token is in a cookie that no script can read (docs/accounts.md). Each app has a cookie of its own, so that one browser
// can show a customer, a technician and the console at once.

import { signal } from "@preact/signals";
import { CalloutError, callPublic } from "./api.ts";
import { t } from "./i18n/i18n.ts";
import { readStored, store, withLock } from "./platform.ts";
import type { User } from "./schema.ts";

export type AppName = "console" | "book" | "tech";
export type Role = User["role"];

interface TokensReply {
  user: User;
  access_token: string;
  expires_in: number;
}

const START_RETRY_MS = 2_000;

/** The app in which a role works. */
export function appOf(role: Role): AppName {
  return role === "customer" ? "book" : role === "technician" ? "tech" : "console";
}

export class Session {
  /** The signed-in user; null: nobody. */
  readonly user = signal<User | null>(null);
  /** False until it is known whether somebody is signed in. */
  readonly ready = signal(false);
  /** True if it is not known whether somebody is signed in, because there is no connection. */
  readonly waits = signal(false);
  /** What is done with the user's token before a sign-out. */
  beforeSignOut: (() => Promise<void>) | null = null;
  #token = "";
  #refreshing: Promise<string> | null = null;

  constructor(readonly app: AppName) {}

  /** Find out whether somebody is signed in. The cookie is hidden from scripts, so a stored mark, the user's id, says
   * whether there may be one. Without the mark no request is sent, so a new visitor's console shows no refused request. */
  async start(): Promise<void> {
    while (this.#readMark()) {
      try {
        await this.token(true);
        break;
      } catch (error) {
        if (!(error instanceof CalloutError && error.retryable)) break;
        // Without a connection this cannot be found out, and a sign-in would not work either.
        this.waits.value = true;
        await new Promise((done) => setTimeout(done, START_RETRY_MS));
      }
    }
    this.waits.value = false;
    this.ready.value = true;
  }

  /** Sign in. Rejects with a CalloutError: `unauthenticated` for a wrong e-mail address or password. */
  signIn(email: string, password: string): Promise<User> {
    return this.#enter("/v1/auth/login", { email, password, cookie: this.app });
  }

  /** Create an account and sign in. */
  register(account: { email: string; password: string; name: string; role: Role; phone?: string }): Promise<User> {
    return this.#enter("/v1/auth/register", { ...account, cookie: this.app });
  }

  /** Sign in as one of the users of a demo. */
  enterDemo(role: Role): Promise<User> {
    return this.#enter("/demo/login", { role, cookie: this.app });
  }

  /** Sign in by an access token, as `callout token` prints one. The token is lost when the page is closed. */
  async enterToken(token: string): Promise<User> {
    const answer = await fetch("/v1/me", { headers: { Authorization: `Bearer ${token.trim()}` } });
    const content = await answer.json().catch(() => null);
    if (!answer.ok) throw new CalloutError(content ?? { code: "unauthenticated" });
    this.#token = token.trim();
    this.user.value = content.user;
    this.ready.value = true;
    return content.user;
  }

  /** End the session on the server and here. */
  async signOut(): Promise<void> {
    await this.beforeSignOut?.().catch(() => {});
    await callPublic("POST", "/v1/auth/logout", { cookie: this.app }).catch(() => {});
    this.#forget();
  }

  /** Return an access token; `fresh`: another one than before. Rejects with a CalloutError if the session is over. */
  token = async (fresh: boolean): Promise<string> => {
    if (this.#token && !fresh) return this.#token;
    // Tabs refresh one after another: two that use the same cookie at once would end the session.
    this.#refreshing ??= withLock(`callout.refresh.${this.app}`, this.#refresh).finally(
      () => (this.#refreshing = null),
    );
    return await this.#refreshing;
  };

  #refresh = async (): Promise<string> => {
    let reply: TokensReply;
    try {
      reply = await callPublic("POST", "/v1/auth/refresh", { cookie: this.app }) as TokensReply;
    } catch (error) {
      if (error instanceof CalloutError && !error.retryable) this.#forget();
      throw error;
    }
    // Another server of this host can write the cookie (cookies know no port), but not the mark: a session that is not the
    // marked user's was planted by a stranger. A user who has signed in in another tab is marked; they must not do what
    // the user before them began in this tab.
    const before = this.user.value?.id;
    const marked = this.#readMark() ?? before;
    if (reply.user.id === marked) this.#take(reply);
    else this.#forget();
    if (reply.user.id !== marked || (before && before !== marked)) {
      throw new CalloutError({ code: "unauthenticated", title: t("sign.other_user") });
    }
    return this.#token;
  };

  #readMark(): string | null {
    return readStored(`signed-in.${this.app}`);
  }

  async #enter(path: string, body: object): Promise<User> {
    const reply = await callPublic("POST", path, body) as TokensReply;
    this.#take(reply);
    return reply.user;
  }

  #take(reply: TokensReply): void {
    this.#token = reply.access_token;
    store(`signed-in.${this.app}`, reply.user.id);
    this.user.value = reply.user;
    this.ready.value = true;
  }

  #forget(): void {
    this.#token = "";
    store(`signed-in.${this.app}`, null);
    this.user.value = null;
  }
}
