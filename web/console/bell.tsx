// The bell, which is on every page: how many things wait for the staff, a list of them, and a sound for a new one.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { go, place } from "../shared/router.ts";
import { Icon } from "../shared/ui/icons.tsx";
import { Sheet } from "../shared/ui/sheet.tsx";
import type { Console } from "./data/console.ts";
import { tc } from "./i18n/texts.ts";
import { NeedsList } from "./live/needs.tsx";
import { ring } from "./live/sound.ts";
import { jobPath, pathOf } from "./nav.ts";

const isOpen = signal(false);

const needsOf = (console: Console) =>
  console.needs.changes.value + console.jobs.changes.value >= 0 ? console.needs.all() : [];

export function Bell({ console }: { console: Console }) {
  const needs = needsOf(console);
  useEffect(() => void ring(needs.map((need) => `${need.kind} ${need.job} ${need.since}`)), [needs.length]);
  const label = tc("needs.count", { n: needs.length });
  return (
    <button type="button" class="bell" aria-label={label} title={label} onClick={() => (isOpen.value = true)}>
      <Icon name="bell" />
      {needs.length > 0 && <span class="badge number">{needs.length}</span>}
    </button>
  );
}

/** The list of the bell, while it is open. */
export function BellSheet({ console }: { console: Console }) {
  const close = () => (isOpen.value = false);
  useEffect(() => void close(), [place.value]); // every step in the list that leads elsewhere
  if (!isOpen.value) return null;
  return (
    <Sheet title={tc("needs.title")} close={close}>
      <NeedsList console={console} show={(job) => go(jobPath(job))} toLive={() => (close(), go(pathOf("live")))} />
    </Sheet>
  );
}
