// What waits for somebody of the staff, each with its one main step. New ones are announced.

import { signal } from "@preact/signals";
import { go } from "../../shared/router.ts";
import { ago } from "../../shared/time.ts";
import { Button, Chip, Empty, IconButton } from "../../shared/ui/parts.tsx";
import type { Console } from "../data/console.ts";
import type { Need, NeedKind } from "../data/needs.ts";
import { tc, word } from "../i18n/texts.ts";
import { giveCommand } from "../job/actions.tsx";
import { useListKeys } from "../keys.ts";
import { jobPath, pathOf } from "../nav.ts";
import { announceIsOpen } from "./announce.tsx";
import { reassignTo } from "./reassign.tsx";
import { soundIsOn, toggleSound } from "./sound.ts";

const at = signal(-1);
const MAX_SHOWN = 60;
const GRAVE: NeedKind[] = ["dispute", "code_locked", "dark"];

interface NeedsListProps {
  console: Console;
  show: (job: string) => void;
  /** Show the live page, for a step that must be taken there. Given only if the list is in the bell's dialog, which has
   * its own title. */
  toLive?: () => void;
}

export function NeedsList({ console, show, toLive }: NeedsListProps) {
  const needs = console.needs.changes.value + console.jobs.changes.value >= 0 ? console.needs.all() : [];
  useListKeys(needs.length, at.value, (to) => (at.value = to), () => needs[at.value] && show(needs[at.value].job));
  return (
    <div class="needs">
      <div class="head">
        {toLive ? <span class="grow soft small">{tc("needs.count", { n: needs.length })}</span> : (
          <h2>
            {tc("needs.title")} <span class="soft number">{needs.length}</span>
          </h2>
        )}
        <IconButton
          icon={soundIsOn.value ? "sound" : "silence"}
          aria-pressed={soundIsOn.value}
          label={tc(soundIsOn.value ? "needs.sound_off" : "needs.sound_on")}
          onClick={toggleSound}
        />
        <Button kind="quiet" onClick={() => (toLive?.(), announceIsOpen.value = true)}>{tc("announce.open")}</Button>
      </div>
      {!needs.length && <Empty icon="check" title={tc("needs.none")}>{tc("needs.none_text")}</Empty>}
      <ul aria-live="polite" aria-relevant="additions">
        {needs.slice(0, MAX_SHOWN).map((need, i) => (
          <Item
            key={`${need.kind} ${need.job}`}
            console={console}
            need={need}
            isPresent={i === at.value}
            show={show}
            toLive={toLive}
          />
        ))}
      </ul>
    </div>
  );
}

interface ItemProps {
  console: Console;
  need: Need;
  isPresent: boolean;
  show: (job: string) => void;
  toLive?: () => void;
}

function Item({ console, need, isPresent, show, toLive }: ItemProps) {
  const job = console.jobs.byId.get(need.job);
  return (
    <li data-present={isPresent || undefined}>
      <button type="button" class="what" onClick={() => show(need.job)}>
        <span class="row">
          <Chip state={GRAVE.includes(need.kind) ? "danger" : "open"}>{tc(`need.${need.kind}`)}</Chip>
          <span class="soft small number">{ago(need.since)}</span>
        </span>
        <strong>{job ? console.people.serviceName(job.service) : need.job}</strong>
        <span class="soft small">{job?.address}</span>
      </button>
      <span class="row">
        <MainStep console={console} need={need} toLive={toLive} />
        <IconButton icon="close" label={tc("needs.dismiss")} onClick={() => console.needs.dismiss(need)} />
      </span>
    </li>
  );
}

function MainStep({ console, need, toLive }: Pick<ItemProps, "console" | "need" | "toLive">) {
  const job = console.jobs.byId.get(need.job);
  if (need.kind === "dispute") return <Button onClick={() => go(pathOf("desk"))}>{tc("needs.to_desk")}</Button>;
  if (!job) return <Button onClick={() => go(jobPath(need.job))}>{tc("needs.look")}</Button>;
  if (need.command) {
    return (
      <Button kind="main" onClick={() => void giveCommand(console, job, need.command!, {})}>
        {word("command", need.command)}
      </Button>
    );
  }
  if (need.kind === "code_locked") return <Button onClick={() => go(jobPath(need.job))}>{tc("needs.look")}</Button>;
  return (
    <Button kind="main" onClick={() => (toLive?.(), reassignTo(need.job))}>
      {tc(job.technician ? "needs.reassign" : "needs.assign")}
    </Button>
  );
}
