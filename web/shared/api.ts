// HTTP requests as the signed-in user, typed by the OpenAPI document (`schema.ts`, which `make web` writes).
//
// The browser client (clients/javascript/callout.js) does the work: the token, the idempotency key, the retries with the
// same key, and the problem object as an error. This module only adds the types.

import type { Operations } from "./schema.ts";
import { type Callout, CalloutError } from "../../clients/javascript/callout.js";
import "./platform.ts";

export { CalloutError };

/** A route of the table, such as `GET /v1/jobs/{id}`. */
export type Route = keyof Operations;

type Params<R extends string> = R extends `${string}{${infer Name}}${infer Rest}`
  ? { [name in Name]: string } & Params<Rest>
  : unknown;
type Arguments<R extends Route> =
  & (Params<R> extends Record<string, string> ? { params: Params<R> } : { params?: never })
  & { query?: Operations[R]["query"]; key?: string; patience?: number; signal?: AbortSignal }
  & (undefined extends Operations[R]["body"] ? { body?: Operations[R]["body"] } : { body: Operations[R]["body"] });

/** The arguments of any route, once their types have been checked. */
type Loose = {
  params?: Record<string, string>;
  query?: object;
  body?: unknown;
  key?: string;
  patience?: number;
  signal?: AbortSignal;
};

/** Build the path of a route from its parameters and its query. Parameters that are undefined or null are left out. */
export function pathOf(route: string, params: Record<string, string> = {}, query: object = {}): string {
  const path = route.slice(route.indexOf(" ") + 1)
    .replace(/{(\w+)}/g, (_, name) => encodeURIComponent(params[name]));
  const pairs = Object.entries(query).filter(([, value]) => value !== undefined && value !== null);
  return pairs.length ? `${path}?${new URLSearchParams(pairs.map(([name, value]) => [name, String(value)]))}` : path;
}

/** The requests of one user. `callout` has their token. */
export class Api {
  constructor(private readonly callout: Callout) {}

  /** Send a request of `route`, and return the JSON of the reply. A request that changes something has a key, and its
   * retries have the same. Rejects with a CalloutError, whose `code` and `problem` say why; after `patience` seconds
   * (60) without an answer with the code `unreachable`. */
  call<R extends Route>(
    route: R,
    ...[given]: undefined extends Operations[R]["body"]
      ? Params<R> extends Record<string, string> ? [Arguments<R>] : [Arguments<R>?]
      : [Arguments<R>]
  ): Promise<Operations[R]["reply"]> {
    const { params, query, body, key, patience, signal } = (given ?? {}) as Loose;
    const [method] = route.split(" ", 1);
    return this.callout.http(method, pathOf(route, params, query), body, {
      key,
      patience,
      signal,
    });
  }

  /** Read all pages of a list, at most `limit` items. */
  async list<R extends Route>(
    route: R,
    given: { params?: Record<string, string>; query?: object; limit?: number } = {},
  ) {
    const items: ItemOf<R>[] = [];
    const limit = given.limit ?? 1000;
    for (let cursor: string | null = ""; cursor !== null && items.length < limit;) {
      const query = { limit: Math.min(200, limit), ...given.query, cursor: cursor || undefined };
      const page: { items: ItemOf<R>[]; next: string | null } = await this.callout.http(
        "GET",
        pathOf(route, given.params, query),
      );
      items.push(...page.items);
      cursor = page.next;
    }
    return items;
  }
}

/** The type of the items of a list's route. */
export type ItemOf<R extends Route> = Operations[R]["reply"] extends { items: (infer Item)[] } ? Item : never;

/** Send a request without a user, such as a sign-in. Cookies of this server go with it. Rejects with a CalloutError. */
export async function callPublic(method: string, path: string, body?: unknown): Promise<unknown> {
  let answer: Response, content: unknown = null;
  try {
    answer = await fetch(path, {
      method,
      headers: body === undefined ? {} : { "Content-Type": "application/json" },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal: AbortSignal.timeout(30_000),
    });
    const text = await answer.text();
    content = text ? JSON.parse(text) : null;
  } catch (error) {
    throw new CalloutError({ code: "unreachable", title: String(error) });
  }
  if (!answer.ok) throw new CalloutError(content ?? { code: "internal", title: String(answer.status) });
  return content;
}
