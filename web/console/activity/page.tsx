// The events of the log as they arrive, with filters, and the check of the audit tree.

import { signal } from "@preact/signals";
import { timeOfDay } from "../../shared/time.ts";
import type { Push } from "../../shared/live.ts";
import { Button, Card, Chip, Empty, Field } from "../../shared/ui/parts.tsx";
import type { Console } from "../data/console.ts";
import { tc, word } from "../i18n/texts.ts";
import { useKeys, useListKeys } from "../keys.ts";
import { jobPath, personPath } from "../nav.ts";
import { Trail } from "./trail.tsx";
import { Verify } from "./verify_card.tsx";

const kind = signal("");
const text = signal("");
const at = signal(-1);
const opened = signal("");
const KINDS = ["job", "offer", "technician", "message", "room", "payment", "code", "dispute"] as const;
const MAX_SHOWN = 200;

function matches(push: Push): boolean {
  if (kind.value && !push.type.startsWith(`${kind.value}.`)) return false;
  return !text.value || JSON.stringify(push).toLowerCase().includes(text.value.toLowerCase());
}

export function ActivityPage({ console }: { console: Console }) {
  const { log } = console;
  const shown = log.events.value.filter(matches).slice(0, MAX_SHOWN);
  useListKeys(
    shown.length,
    at.value,
    (to) => (at.value = to),
    () => shown[at.value] && (opened.value = nameOf(shown[at.value])),
  );
  useKeys({ p: () => log.setPaused(!log.paused.value) });
  return (
    <div class="page activity">
      <header class="page-head">
        <h1>{tc("nav.activity")}</h1>
        <span class="grow" />
        <Button
          icon={log.paused.value ? "activity" : "clock"}
          aria-pressed={log.paused.value}
          onClick={() => log.setPaused(!log.paused.value)}
        >
          {log.paused.value ? tc("activity.resume", { n: log.waiting.value }) : tc("activity.pause")}
        </Button>
      </header>
      <div class="job-columns">
        <div class="stack">
          <div class="filters">
            <Field label={tc("activity.kind")}>
              {(a) => (
                <select {...a} value={kind.value} onChange={(event) => (kind.value = event.currentTarget.value)}>
                  <option value="">{tc("jobs.all")}</option>
                  {KINDS.map((name) => <option key={name} value={name}>{tc(`event_kind.${name}`)}</option>)}
                </select>
              )}
            </Field>
            <Field label={tc("activity.text")}>
              {(a) => (
                <input
                  {...a}
                  type="search"
                  value={text.value}
                  onInput={(event) => (text.value = event.currentTarget.value)}
                />
              )}
            </Field>
          </div>
          {shown.length
            ? (
              <ol class="log" aria-label={tc("activity.log")}>
                {shown.map((push, i) => (
                  <Entry key={nameOf(push)} console={console} push={push} isPresent={i === at.value} />
                ))}
              </ol>
            )
            : (
              <Empty icon="activity" title={tc("activity.none")}>
                {tc(console.log.events.value.length ? "jobs.none_filtered_text" : "activity.none_text")}
              </Empty>
            )}
        </div>
        <div class="stack">
          <Verify console={console} />
          <Card title={tc("activity.trail")}>
            <Trail console={console} />
          </Card>
        </div>
      </div>
    </div>
  );
}

function nameOf(push: Push): string {
  return `${push.zone} ${push.seq}`;
}

function stateOf(type: string): "open" | "assigned" | "active" | "done" | "danger" | "closed" {
  if (/late|dark|unfilled|failed|locked|disputed|stalled|expired/.test(type)) return "danger";
  if (/accepted|completed|signed|received|resolved/.test(type)) return "done";
  if (/searching|created|offer/.test(type)) return "open";
  return /technician|status/.test(type) ? "active" : "closed";
}

function Entry({ console, push, isPresent }: { console: Console; push: Push; isPresent: boolean }) {
  const { data } = push;
  const name = nameOf(push);
  const job = data?.job?.id ?? data?.offer?.job?.id ?? (push.type.startsWith("job.") ? data?.id : undefined);
  const who = data?.technician?.id;
  return (
    <li data-present={isPresent || undefined}>
      <span class="soft small number">{push.seq}</span>
      <time class="soft small number" dateTime={push.at}>{timeOfDay(push.at)}</time>
      <Chip state={stateOf(push.type)}>{word("event", push.type)}</Chip>
      <span class="grow">
        {job && <a href={jobPath(job)}>{console.jobs.byId.get(job)?.address ?? job.slice(-8)}</a>}
        {who && (
          <>
            · <a href={personPath(who)}>{console.people.name(who)}</a>
          </>
        )}
        {data?.reason && <span class="soft">· {word("reason", String(data.reason))}</span>}
      </span>
      <Button
        kind="quiet"
        aria-expanded={opened.value === name}
        onClick={() => (opened.value = opened.value === name ? "" : name)}
      >
        {tc("activity.raw")}
      </Button>
      {opened.value === name && <pre tabIndex={0}>{JSON.stringify(push, null, 2)}</pre>}
    </li>
  );
}
