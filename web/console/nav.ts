// The pages of the console, and the roles that see each.

import type { IconName } from "../shared/ui/icons.tsx";
import type { Role } from "../shared/session.ts";
import type { Key } from "./i18n/texts.ts";

export const BASE = "/console";
export type PageName = "live" | "jobs" | "people" | "desk" | "demand" | "activity" | "system";

interface Page {
  name: PageName;
  icon: IconName;
  text: Key;
  roles: readonly Role[];
}

const OPS = ["ops_manager", "admin"] as const;

export const PAGES: readonly Page[] = [
  { name: "live", icon: "map", text: "nav.live", roles: OPS },
  { name: "jobs", icon: "list", text: "nav.jobs", roles: OPS },
  { name: "people", icon: "people", text: "nav.people", roles: [...OPS, "onboarding_manager"] },
  { name: "desk", icon: "chat", text: "nav.desk", roles: [...OPS, "mediator"] },
  { name: "demand", icon: "chart", text: "nav.demand", roles: OPS },
  { name: "activity", icon: "activity", text: "nav.activity", roles: OPS },
  { name: "system", icon: "settings", text: "nav.system", roles: OPS },
];

export function pagesOf(role: Role): Page[] {
  return PAGES.filter((page) => page.roles.includes(role));
}

export function pathOf(page: PageName, ...parts: string[]): string {
  return [BASE, page, ...parts.map(encodeURIComponent)].join("/");
}

export function jobPath(id: string, tab?: string): string {
  return pathOf("jobs", id) + (tab ? `?tab=${tab}` : "");
}

export function personPath(id: string): string {
  return pathOf("people", id);
}
