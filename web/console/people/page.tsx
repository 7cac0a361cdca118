// People: technicians, those who wait for a review, and for admins all users.

import { go, place, queryNow } from "../../shared/router.ts";
import { Tabs } from "../../shared/ui/parts.tsx";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";
import { PersonPage } from "./person.tsx";
import { Queue } from "./queue.tsx";
import { Technicians } from "./technicians.tsx";
import { Users } from "./users.tsx";

const TABS = ["queue", "technicians", "users"] as const;
type Tab = (typeof TABS)[number];

export function PeoplePage({ console, rest }: { console: Console; rest: string[] }) {
  if (rest[0]) return <PersonPage key={rest[0]} console={console} id={rest[0]} />;
  const tabs = TABS.filter((name) => name === "technicians" || (name === "queue" ? console.reviews : console.isAdmin));
  const wanted = queryNow().get("tab") as Tab;
  const fallback: Tab = console.role === "onboarding_manager" ? "queue" : "technicians";
  const tab = tabs.includes(wanted) ? wanted : fallback;
  return (
    <div class="page">
      <header class="page-head">
        <h1>{tc("nav.people")}</h1>
        <span class="grow" />
        {tabs.length > 1 && (
          <Tabs<Tab>
            label={tc("nav.people")}
            tabs={tabs.map((name) => [name, tc(`people.${name}`)] as const)}
            chosen={tab}
            choose={(name) => go(`${place.value.split("?")[0]}?tab=${name}`, { replace: true })}
          />
        )}
      </header>
      {tab === "queue" && <Queue console={console} />}
      {tab === "technicians" && <Technicians console={console} />}
      {tab === "users" && <Users console={console} />}
    </div>
  );
}
