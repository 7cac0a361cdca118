// The frame of the console: the rail of pages, the bar above, the page in the middle, and what every page can open.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { known, t } from "../shared/i18n/i18n.ts";
import { meta } from "../shared/meta.ts";
import { store } from "../shared/platform.ts";
import { go, partsBelow } from "../shared/router.ts";
import { Connection } from "../shared/ui/connection.tsx";
import { Icon, Mark } from "../shared/ui/icons.tsx";
import { Avatar, Button, Empty, ErrorNote } from "../shared/ui/parts.tsx";
import { Sheet } from "../shared/ui/sheet.tsx";
import { LanguageButton, ThemeButton } from "../shared/ui/theme_choice.tsx";
import { ActivityPage } from "./activity/page.tsx";
import { Bell, BellSheet } from "./bell.tsx";
import type { Console } from "./data/console.ts";
import { DemandPage } from "./demand/page.tsx";
import { DeskPage } from "./desk/page.tsx";
import { tc } from "./i18n/texts.ts";
import { JobPage } from "./job/page.tsx";
import { JobsPage } from "./jobs/page.tsx";
import { useKeys } from "./keys.ts";
import { LivePage } from "./live/page.tsx";
import { BASE, type PageName, pagesOf, pathOf } from "./nav.ts";
import { PeoplePage } from "./people/page.tsx";
import { Search, searchIsOpen } from "./search.tsx";
import { CounterLine } from "./system/faults.tsx";
import { SystemPage } from "./system/page.tsx";

const helpIsOpen = signal(false);
const menuIsOpen = signal(false);

export function ConsoleFrame({ console }: { console: Console }) {
  const pages = pagesOf(console.role);
  const parts = partsBelow(BASE);
  const page = pages.find(({ name }) => name === parts[0]) ?? (parts.length ? null : pages[0]);
  // Without a connection the page still shows what is known, in grey. The live page greys its map alone.
  const isStale = page?.name !== "live" && console.live.lostAt.value !== null && console.loaded.value;
  const title = page ? tc(page.text) : t("app.name");
  useEffect(() => void (document.title = `${title} · Callout`), [title]);
  useEffect(() => {
    if (!parts.length && pages.length) go(pathOf(pages[0].name), { replace: true });
  });
  useKeys({
    "?": () => (helpIsOpen.value = true),
    "/": () => (searchIsOpen.value = true),
    "mod+k": () => (searchIsOpen.value = true),
    ...Object.fromEntries(pages.map(({ name }, i) => [`g ${i + 1}`, () => go(pathOf(name))])),
  });
  return (
    <div class="console">
      {meta.value?.demo && <p class="ribbon">{t("demo.ribbon")}</p>}
      <TopBar console={console} />
      <Rail console={console} present={page?.name} />
      <main id="content" tabIndex={-1} aria-label={title} data-stale={isStale || undefined}>
        {console.error.value && (
          <div class="page-note">
            <ErrorNote error={console.error.value} retry={() => void console.load()} />
          </div>
        )}
        {page ? <Page console={console} name={page.name} rest={parts.slice(1)} /> : <NoPage />}
      </main>
      <Search console={console} />
      <BellSheet console={console} />
      {helpIsOpen.value && <Help />}
      {menuIsOpen.value && <Me console={console} />}
    </div>
  );
}

function Page({ console, name, rest }: { console: Console; name: PageName; rest: string[] }) {
  switch (name) {
    case "live":
      return <LivePage console={console} />;
    case "jobs":
      return rest[0] ? <JobPage key={rest[0]} console={console} id={rest[0]} /> : <JobsPage console={console} />;
    case "people":
      return <PeoplePage console={console} rest={rest} />;
    case "desk":
      return rest[0] ? <JobPage key={rest[0]} console={console} id={rest[0]} /> : <DeskPage console={console} />;
    case "demand":
      return <DemandPage console={console} />;
    case "activity":
      return <ActivityPage console={console} />;
    case "system":
      return <SystemPage console={console} />;
  }
}

function NoPage() {
  return (
    <Empty icon="map" title={tc("frame.no_page")}>
      {tc("frame.no_page_text")}
    </Empty>
  );
}

function TopBar({ console }: { console: Console }) {
  const user = console.live.session.user.value;
  return (
    <header class="bar">
      <a class="brand" href={BASE} aria-label={t("app.name")}>
        <Mark size={26} />
        <strong>{t("app.name")}</strong>
      </a>
      <Zone console={console} />
      <button type="button" class="find" aria-label={tc("search.open")} onClick={() => (searchIsOpen.value = true)}>
        <Icon name="search" size={16} />
        <span>{tc("search.open")}</span>
        <kbd>Ctrl K</kbd>
      </button>
      <span class="grow" />
      {meta.value?.demo && <CounterLine />}
      <Connection live={console.live} />
      {pagesOf(console.role).some(({ name }) => name === "live") && <Bell console={console} />}
      <ThemeButton />
      <button
        type="button"
        class="me"
        aria-label={tc("frame.me", { name: user?.name ?? "" })}
        onClick={() => (menuIsOpen.value = true)}
      >
        <Avatar name={user?.name ?? "?"} />
      </button>
    </header>
  );
}

/** The name of the zone that is shown; if there are several zones, a menu to choose one. The choice of another zone
 * loads the page again. */
function Zone({ console }: { console: Console }) {
  const names = console.zones.value.map(({ name }) => name);
  const choose = (name: string) => (store("zone", name), location.reload());
  if (names.length < 2) {
    return (
      <span class="zone">
        <Icon name="pin" size={16} />
        {console.zone}
      </span>
    );
  }
  return (
    <label class="zone">
      <Icon name="pin" size={16} />
      <span class="sr-only">{tc("frame.zone")}</span>
      <select class="in-table" value={console.zone} onChange={(event) => choose(event.currentTarget.value)}>
        {names.map((name) => <option key={name} value={name}>{name}</option>)}
      </select>
    </label>
  );
}

function Rail({ console, present }: { console: Console; present?: PageName }) {
  const waiting = console.needs.changes.value + console.jobs.changes.value >= 0 ? console.needs.all().length : 0;
  return (
    <nav class="rail" aria-label={tc("nav.label")}>
      {pagesOf(console.role).map(({ name, icon, text }) => (
        <a key={name} href={pathOf(name)} aria-current={name === present ? "page" : undefined}>
          <Icon name={icon} />
          <span>{tc(text)}</span>
          {name === "live" && waiting > 0 && (
            <span class="badge number" aria-label={tc("needs.count", { n: waiting })}>
              {waiting > 99 ? "99+" : waiting}
            </span>
          )}
        </a>
      ))}
    </nav>
  );
}

function Me({ console }: { console: Console }) {
  const user = console.live.session.user.value;
  return (
    <Sheet title={user?.name ?? ""} close={() => (menuIsOpen.value = false)}>
      <div class="stack">
        <p class="soft">{known("role", console.role)} · {user?.email}</p>
        <p class="soft small">{tc("frame.version", { version: meta.value?.version ?? "" })}</p>
        <div class="row">
          <LanguageButton />
          <Button icon="book" onClick={() => (menuIsOpen.value = false, helpIsOpen.value = true)}>
            {tc("keys.title")}
          </Button>
          <Button
            icon="back"
            onClick={() => {
              menuIsOpen.value = false;
              console.live.close();
              void console.live.session.signOut();
            }}
          >
            {t("action.sign_out")}
          </Button>
        </div>
      </div>
    </Sheet>
  );
}

const KEYS = [
  ["Ctrl K", "keys.search"],
  ["/", "keys.search"],
  ["J K", "keys.move"],
  ["Enter", "keys.open"],
  ["Esc", "keys.close"],
  ["g 1 … 7", "keys.page"],
  ["?", "keys.help"],
] as const;

function Help() {
  return (
    <Sheet title={tc("keys.title")} close={() => (helpIsOpen.value = false)}>
      <dl class="keys">
        {KEYS.map(([key, text]) => (
          <div key={key}>
            <dt>
              <kbd>{key}</kbd>
            </dt>
            <dd>{tc(text)}</dd>
          </div>
        ))}
      </dl>
    </Sheet>
  );
}
