// The facts about the server that a page needs before anybody signs in.

import { signal } from "@preact/signals";
import { callPublic } from "./api.ts";
import type { About } from "./schema.ts";

/** `/v1/meta`; null until it was read. */
export const meta = signal<About | null>(null);

/** Read `/v1/meta` once. Rejects with a CalloutError. */
export async function loadMeta(): Promise<About> {
  meta.value ??= await callPublic("GET", "/v1/meta") as About;
  return meta.value;
}
