// The system: its processes, zones and stores, the figures of the last 15 minutes, and the settings. In a demo: faults.

import { useEffect } from "preact/hooks";
import { meta } from "../../shared/meta.ts";
import { ago, clock, dayAndTime, duration } from "../../shared/time.ts";
import { Card, Chip, type Column, Note, Table, Tile } from "../../shared/ui/parts.tsx";
import type { ProcessItem, Setting, SystemFacts, ZoneFacts } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";
import { type Loaded, useLoaded } from "../load.ts";
import { FIGURES } from "../live/strip.tsx";
import { Shown } from "../shown.tsx";
import { Chart } from "./chart.tsx";
import { Faults } from "./faults.tsx";

const EVERY_S = 3;

export function SystemPage({ console }: { console: Console }) {
  const loaded = useLoaded(() => console.api.call("GET /v1/system", { patience: 0 }), []);
  useEffect(() => console.stats.follow(), []);
  useRepeat(loaded);
  return (
    <div class="page">
      <header class="page-head">
        <h1>{tc("nav.system")}</h1>
      </header>
      {meta.value?.demo && <Faults />}
      <Figures console={console} />
      <Shown loaded={loaded}>{({ system }) => <Facts system={system} />}</Shown>
      {console.isAdmin && <Settings console={console} />}
    </div>
  );
}

/** Read again every few seconds while the page is visible. */
function useRepeat(loaded: Loaded<unknown>): void {
  const tick = Math.floor(clock.value / 1000 / EVERY_S);
  useEffect(() => void (document.hidden || loaded.again()), [tick]);
}

function Figures({ console }: { console: Console }) {
  const points = console.stats.points.value;
  const last = points.at(-1);
  return (
    <section class="stack" aria-label={tc("system.figures")}>
      <div class="tiles">
        {FIGURES.map(([name, read, show]) => (
          <Tile
            key={name}
            label={tc(`stats.${name}`)}
            value={last ? show(read(last)) : "–"}
            series={points.slice(-150).map(read)}
          />
        ))}
      </div>
      <div class="charts">
        <Chart
          title={tc("system.chart_claims")}
          points={points}
          series={[["claims_per_s", (p) => p.claims_per_s]]}
          unit={tc("system.per_s")}
        />
        <Chart
          title={tc("system.chart_time")}
          points={points}
          series={[["p50_s", (p) => ms(p.p50_s)], ["p99_s", (p) => ms(p.p99_s)]]}
          unit="ms"
        />
      </div>
    </section>
  );
}

function ms(seconds?: number | null): number | null {
  return seconds == null ? null : seconds * 1000;
}

function Facts({ system }: { system: SystemFacts }) {
  const processes: Column<ProcessItem>[] = [
    { name: "name", head: tc("person.name"), cell: (row) => row.name },
    { name: "host", head: tc("system.host"), cell: (row) => `${row.host} · ${row.pid}` },
    { name: "roles", head: tc("system.roles"), cell: (row) => row.roles.join(", ") },
    { name: "sockets", head: tc("stats.sockets"), number: true, cell: (row) => row.sockets },
    { name: "streams", head: tc("system.streams"), number: true, cell: (row) => row.streams },
    { name: "lag", head: tc("stats.lag_s"), number: true, cell: (row) => `${(row.lag_s * 1000).toFixed(1)} ms` },
    {
      name: "up",
      head: tc("system.up"),
      number: true,
      cell: (row) => duration((clock.value - Date.parse(row.started_at)) / 1000),
    },
    { name: "seen", head: tc("system.seen"), cell: (row) => ago(row.seen_at) },
    { name: "version", head: tc("system.version"), cell: (row) => row.version },
  ];
  const zones: Column<ZoneFacts>[] = [
    { name: "zone", head: tc("frame.zone"), cell: (row) => row.zone },
    {
      name: "open",
      head: tc("person.state"),
      cell: (row) => (
        <Chip state={row.open ? "done" : "danger"}>
          {row.open ? tc("system.open") : `${tc("system.closed")}: ${row.why}`}
        </Chip>
      ),
    },
    { name: "epoch", head: tc("system.epoch"), cell: (row) => <code>{row.epoch}</code> },
    { name: "seq", head: tc("system.head"), number: true, cell: (row) => row.seq },
    { name: "archived", head: tc("system.archived"), number: true, cell: (row) => row.archived },
    {
      name: "lag",
      head: tc("system.archive_lag"),
      number: true,
      cell: (row) => row.seq > row.archived ? `${row.seq - row.archived} · ${duration(row.lag_s)}` : "0",
    },
    { name: "pushed", head: tc("system.pushed"), number: true, cell: (row) => row.seq - row.pushed },
    { name: "jobs", head: tc("stats.open_jobs"), number: true, cell: (row) => row.open_jobs },
    { name: "opened", head: tc("system.opened"), cell: (row) => row.opened_at && dayAndTime(row.opened_at) },
  ];
  return (
    <div class="stack">
      {system.problems.map((problem) => <Note key={problem} kind="warning">{problem}</Note>)}
      {!system.problems.length && (
        <p role="status">
          <Chip state="done">{tc("system.ready")}</Chip>
        </p>
      )}
      <Card title={tc("system.processes")}>
        <Table
          caption={tc("frame.table", { name: tc("system.processes") })}
          columns={processes}
          rows={system.processes}
          keyOf={(row) => row.id}
        />
      </Card>
      <Card title={tc("system.zones")}>
        <Table
          caption={tc("frame.table", { name: tc("system.zones") })}
          columns={zones}
          rows={system.zones}
          keyOf={(row) => row.zone}
        />
      </Card>
      <Card title={tc("system.stores")}>
        <ul class="lines">
          {system.redis.map((store) => (
            <li key={store.name}>
              {store.name} {store.version} · {(store.memory_bytes / 2 ** 20).toFixed(1)} MiB ·{" "}
              {tc("system.clients", { n: store.clients })}
            </li>
          ))}
          <li>{tc("system.database")}: {system.database}</li>
        </ul>
      </Card>
    </div>
  );
}

function Settings({ console }: { console: Console }) {
  const loaded = useLoaded(() => console.api.call("GET /v1/settings"), []);
  const columns: Column<Setting>[] = [
    { name: "name", head: tc("person.name"), cell: (row) => <code>{row.name}</code> },
    { name: "value", head: tc("system.value"), cell: (row) => <code>{row.value || "–"}</code> },
    {
      name: "default",
      head: tc("system.set"),
      cell: (row) =>
        row.is_default
          ? <span class="soft">{tc("system.default")}</span>
          : <Chip state="assigned">{tc("system.is_set")}</Chip>,
    },
  ];
  return (
    <Card title={tc("system.settings")}>
      <Shown loaded={loaded}>
        {({ items }) => (
          <Table
            caption={tc("frame.table", { name: tc("system.settings") })}
            columns={columns}
            rows={items}
            keyOf={(row) => row.name}
          />
        )}
      </Shown>
    </Card>
  );
}
