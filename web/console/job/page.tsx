// One job: its facts, what may be done now, how it went, and all that belongs to it.

import { computed } from "@preact/signals";
import { useEffect, useMemo } from "preact/hooks";
import { t } from "../../shared/i18n/i18n.ts";
import { go, place, queryNow } from "../../shared/router.ts";
import { ago } from "../../shared/time.ts";
import { Button, Chip, Tabs } from "../../shared/ui/parts.tsx";
import type { Job } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { sinceOf } from "../data/needs.ts";
import { tc } from "../i18n/texts.ts";
import { useKeys } from "../keys.ts";
import { useLoaded } from "../load.ts";
import { Shown } from "../shown.tsx";
import { Actions } from "./actions.tsx";
import { ChatTab } from "./chat.tsx";
import { EventsTab } from "./events.tsx";
import { Facts } from "./facts.tsx";
import { FilesTab } from "./files.tsx";
import { PaymentsTab } from "./payments.tsx";
import { Timeline } from "./timeline.tsx";
import { TrackTab } from "./track.tsx";
import { WavesTab } from "./waves.tsx";

const TABS = ["waves", "chat", "files", "payments", "track", "events"] as const;
type Tab = (typeof TABS)[number];

export function JobPage({ console, id }: { console: Console; id: string }) {
  const loaded = useLoaded(() => console.jobs.read(id), [id]);
  const version = useMemo(
    () => computed(() => console.jobs.changes.value >= 0 ? console.jobs.byId.get(id)?.version : 0),
    [id],
  );
  // The actions depend on the version: they are read again when an event changed the job.
  useEffect(() => {
    if (loaded.data.value && version.value !== loaded.data.value.version) void loaded.again();
  }, [version.value]);
  useKeys({ Escape: () => history.length > 1 ? history.back() : go("/console/jobs") });
  return (
    <div class="page job-page">
      <Shown loaded={loaded}>
        {(read) => {
          const job = {
            ...read,
            ...(console.jobs.byId.get(id) ?? {}),
            actions: read.actions,
            codes: read.codes,
          } as Job;
          return <JobView console={console} job={job} changed={() => void loaded.again()} />;
        }}
      </Shown>
    </div>
  );
}

function JobView({ console, job, changed }: { console: Console; job: Job; changed: () => void }) {
  const tabs = tabsOf(console);
  const wanted = queryNow().get("tab") as Tab;
  const tab = tabs.includes(wanted) ? wanted : tabs[0];
  const choose = (name: Tab) => go(`${place.value.split("?")[0]}?tab=${name}`, { replace: true });
  return (
    <>
      <header class="page-head">
        <Button kind="quiet" icon="back" onClick={() => history.length > 1 ? history.back() : go("/console/jobs")}>
          {t("action.back")}
        </Button>
        <h1>{console.people.serviceName(job.service)}</h1>
        <Chip state={job.frozen ? "danger" : job.phase}>
          {job.frozen ? tc("job.frozen") : job.status.replaceAll("_", " ")}
        </Chip>
        <span class="soft">
          {console.blueprints.says(job)} · <span class="number">{ago(sinceOf(job))}</span>
        </span>
      </header>
      <div class="job-columns">
        <div class="stack">
          <Facts console={console} job={job} />
          <Actions console={console} job={job} changed={changed} />
        </div>
        <div class="stack">
          <Timeline console={console} job={job} />
          <Tabs<Tab>
            label={tc("job.tabs")}
            tabs={tabs.map((name) => [name, tc(`tab.${name}`)] as const)}
            chosen={tab}
            choose={choose}
          />
          <div class="tab-panel" role="tabpanel" aria-label={tc(`tab.${tab}`)}>
            <TabBody console={console} job={job} tab={tab} />
          </div>
        </div>
      </div>
    </>
  );
}

function tabsOf(console: Console): readonly Tab[] {
  return console.isOps ? TABS : ["chat", "files", "track"];
}

function TabBody({ console, job, tab }: { console: Console; job: Job; tab: Tab }) {
  const props = { console, job };
  switch (tab) {
    case "waves":
      return <WavesTab {...props} />;
    case "chat":
      return <ChatTab {...props} />;
    case "files":
      return <FilesTab {...props} />;
    case "payments":
      return <PaymentsTab {...props} />;
    case "track":
      return <TrackTab {...props} />;
    case "events":
      return <EventsTab {...props} />;
  }
}
