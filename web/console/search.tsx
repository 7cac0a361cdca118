// The search of the staff: people, jobs and pages, by the keyboard.

import { signal } from "@preact/signals";
import { useEffect, useRef } from "preact/hooks";
import { CalloutError } from "../shared/api.ts";
import { known } from "../shared/i18n/i18n.ts";
import type { FoundThing } from "../shared/schema.ts";
import { go } from "../shared/router.ts";
import { Icon, type IconName } from "../shared/ui/icons.tsx";
import { Empty, ErrorNote } from "../shared/ui/parts.tsx";
import { Sheet } from "../shared/ui/sheet.tsx";
import type { Console } from "./data/console.ts";
import { tc } from "./i18n/texts.ts";
import { jobPath, pagesOf, pathOf, personPath } from "./nav.ts";

export const searchIsOpen = signal(false);
const text = signal("");
const found = signal<FoundThing[]>([]);
const error = signal<CalloutError | null>(null);
const chosen = signal(0);

const WAIT_MS = 150;
const MIN_LENGTH = 2;

interface Entry {
  key: string;
  icon: IconName;
  title: string;
  detail: string;
  path: string;
}

function entriesOf(console: Console): Entry[] {
  const typed = text.value.trim().toLowerCase();
  const pages = pagesOf(console.role).filter((page) => !typed || tc(page.text).toLowerCase().includes(typed));
  return [
    ...pages.map(({ name, icon, text: title }) => ({
      key: name,
      icon,
      title: tc(title),
      detail: tc("search.page"),
      path: pathOf(name),
    })),
    ...found.value.map((each) => ({
      key: each.id,
      icon: (each.kind === "job" ? "wrench" : "user") as IconName,
      title: each.title,
      detail: each.kind === "job" ? each.detail.replaceAll("_", " ") : known("role", each.detail),
      path: each.kind === "job" ? jobPath(each.id) : personPath(each.id),
    })),
  ];
}

export function Search({ console }: { console: Console }) {
  if (!searchIsOpen.value) return null;
  return <SearchSheet console={console} />;
}

function SearchSheet({ console }: { console: Console }) {
  const input = useRef<HTMLInputElement>(null);
  const entries = entriesOf(console);
  useEffect(() => input.current?.focus(), []);
  useEffect(() => followText(console), []);
  const open = (entry?: Entry) => {
    if (!entry) return;
    close();
    go(entry.path);
  };
  const onKey = (event: KeyboardEvent) => {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (step) chosen.value = Math.max(0, Math.min(entries.length - 1, chosen.value + step));
    else if (event.key === "Enter") open(entries[chosen.value]);
    else return;
    event.preventDefault();
  };
  return (
    <Sheet title={tc("search.title")} close={close}>
      <div class="search">
        <input
          ref={input}
          type="search"
          role="combobox"
          list={undefined}
          aria-expanded="true"
          aria-controls="search-found"
          aria-activedescendant={entries.length ? `found-${chosen.value}` : undefined}
          aria-label={tc("search.title")}
          placeholder={tc(console.role === "onboarding_manager" ? "search.people" : "search.hint")}
          value={text.value}
          onInput={(event) => (text.value = event.currentTarget.value, chosen.value = 0)}
          onKeyDown={onKey}
        />
        <ErrorNote error={error.value} />
        <div id="search-found" role="listbox" aria-label={tc("search.found")}>
          {entries.map((entry, i) => (
            <div
              key={entry.key}
              id={`found-${i}`}
              role="option"
              aria-selected={i === chosen.value}
              onClick={() => open(entry)}
            >
              <Icon name={entry.icon} size={18} />
              <span class="grow">{entry.title}</span>
              <span class="soft small">{entry.detail}</span>
            </div>
          ))}
        </div>
        {!entries.length && <Empty icon="search" title={tc("search.none")}>{tc("search.none_text")}</Empty>}
      </div>
    </Sheet>
  );
}

function close(): void {
  searchIsOpen.value = false;
  text.value = "";
  found.value = [];
  error.value = null;
  chosen.value = 0;
}

/** Search what is typed, a moment after the last key. Return a function that ends this. */
function followText(console: Console): () => void {
  let timer: ReturnType<typeof setTimeout> | undefined;
  let running: AbortController | undefined;
  const maySearch = console.isOps || console.role === "onboarding_manager";
  const end = text.subscribe((typed) => {
    clearTimeout(timer);
    running?.abort();
    if (!maySearch || typed.trim().length < MIN_LENGTH) return void (found.value = []);
    timer = setTimeout(async () => {
      running = new AbortController();
      try {
        const { items } = await console.api.call("GET /v1/search", {
          query: { q: typed.trim() },
          signal: running.signal,
        });
        [found.value, error.value] = [items, null];
      } catch (refusal) {
        if (refusal instanceof CalloutError) error.value = refusal;
      }
    }, WAIT_MS);
  });
  return () => (clearTimeout(timer), running?.abort(), end());
}
