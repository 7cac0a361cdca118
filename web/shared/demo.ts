// The one-click logins of a demo. Other servers have none.

import { signal } from "@preact/signals";
import { callPublic } from "./api.ts";
import { loadMeta } from "./meta.ts";
import type { Role } from "./session.ts";

export interface DemoLogin {
  role: Role;
  name: string;
  title?: string;
}

/** The users of the demo, once they are known; empty on other servers. */
export const demoLogins = signal<DemoLogin[]>([]);

/** Read the users of the demo, if this server is one. */
export async function loadDemoLogins(): Promise<void> {
  if (!(await loadMeta().catch(() => null))?.demo) return;
  const logins = await callPublic("GET", "/demo/logins").catch(() => []);
  demoLogins.value = Array.isArray(logins) ? logins : (logins as { items?: DemoLogin[] }).items ?? [];
}
