// The page of demand: how many requests are expected in each area in each hour, as cells on a map and as a table.

import { signal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import type { DemandItem } from "../../shared/schema.ts";
import { ago } from "../../shared/time.ts";
import { MapView } from "../../shared/ui/map_view.tsx";
import { Button, type Column, Empty, Field, Table, Tabs } from "../../shared/ui/parts.tsx";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";
import { useLoaded } from "../load.ts";
import { Shown } from "../shown.tsx";
import type { DemandMap } from "./demand_map.ts";

const by = signal<"cell" | "postal_code">("cell");
const hour = signal(1);
const chosen = signal("");
const isRaised = signal(false);
const MAX_AREAS = 1000;

/** The requests that are expected in an area in the hour that ends `h` hours after the last full hour. */
export function expectedAt(item: DemandItem, h: number): number {
  const ahead = item.ahead ?? [];
  return ahead.find((each) => each.h === h)?.mean ??
    ahead.reduce((near, each) => Math.abs(each.h - h) < Math.abs(near.h - h) ? each : near, ahead[0] ?? { h, mean: 0 })
      .mean;
}

export function DemandPage({ console }: { console: Console }) {
  const loaded = useLoaded(
    () => console.api.list("GET /v1/demand", { query: { by: by.value, zone: console.zone }, limit: MAX_AREAS }),
    [by.value],
  );
  useEffect(() => console.live.onPush(({ type }) => type === "demand" && void loaded.again()), []);
  const hours = [...new Set((loaded.data.value ?? []).flatMap((item) => (item.ahead ?? []).map(({ h }) => h)))].sort((
    a,
    b,
  ) => a - b);
  return (
    <div class="page demand">
      <header class="page-head">
        <h1>{tc("nav.demand")}</h1>
        <span class="grow" />
        {by.value === "cell" && (
          <Button aria-pressed={isRaised.value} onClick={() => (isRaised.value = !isRaised.value)}>
            {tc("demand.raised")}
          </Button>
        )}
        <Tabs
          label={tc("demand.by")}
          tabs={[["cell", tc("demand.cells")], ["postal_code", tc("demand.codes")]] as const}
          chosen={by.value}
          choose={(name) => (by.value = name)}
        />
      </header>
      {hours.length > 1 && (
        <Field label={tc("demand.hour", { n: hour.value })}>
          {(a) => (
            <input
              {...a}
              type="range"
              min={0}
              max={hours.length - 1}
              value={Math.max(0, hours.indexOf(hour.value))}
              aria-valuetext={tc("demand.hour", { n: hour.value })}
              onInput={(event) => (hour.value = hours[Number(event.currentTarget.value)])}
            />
          )}
        </Field>
      )}
      <Shown loaded={loaded}>
        {(items) =>
          items.length
            ? (
              <div class="two wide-map">
                {by.value === "cell" && <Cells console={console} items={items} h={hour.value} />}
                <Areas items={items} h={hour.value} />
              </div>
            )
            : <Empty icon="chart" title={tc("demand.none")}>{tc("demand.none_text")}</Empty>}
      </Shown>
    </div>
  );
}

function Cells({ console, items, h }: { console: Console; items: DemandItem[]; h: number }) {
  const map = useRef<DemandMap | null>(null);
  const present = useRef({ items, h });
  present.current = { items, h };
  useEffect(() => map.current?.show(items, h), [items, h]);
  useEffect(() => map.current?.raise(isRaised.value), [isRaised.value]);
  const view = useMemo(() => (
    <MapView
      label={tc("demand.map")}
      past={console.past}
      load={() => import("./demand_map.ts")}
      ready={(city, { DemandMap }) => {
        map.current = new DemandMap(city, (area) => (chosen.value = area));
        map.current.show(present.current.items, present.current.h);
        if (isRaised.value) map.current.raise(true);
        return () => (map.current = null);
      }}
    />
  ), []);
  return <div class="demand-map">{view}</div>;
}

function Areas({ items, h }: { items: DemandItem[]; h: number }) {
  const columns: Column<DemandItem>[] = [
    { name: "area", head: tc("demand.area"), cell: (row) => <code>{row.area}</code> },
    { name: "score", head: tc("demand.score"), number: true, cell: (row) => row.score.toFixed(0) },
    { name: "expected", head: tc("demand.expected"), number: true, cell: (row) => expectedAt(row, h).toFixed(1) },
    { name: "waiting", head: tc("demand.waiting"), number: true, cell: (row) => row.waiting ?? "–" },
    { name: "free", head: tc("demand.free"), number: true, cell: (row) => row.free ?? "–" },
    {
      name: "lift",
      head: tc("demand.lift"),
      number: true,
      cell: (row) => row.lift == null ? "–" : `× ${row.lift.toFixed(1)}`,
    },
    {
      name: "multiplier",
      head: tc("demand.multiplier"),
      number: true,
      cell: (row) => row.multiplier == null ? "–" : `× ${(row.multiplier / 1000).toFixed(2)}`,
    },
    { name: "sample", head: tc("demand.sample"), number: true, cell: (row) => row.sample ?? "–" },
  ];
  return (
    <div class="stack">
      <Table
        caption={tc("nav.demand")}
        columns={columns}
        rows={items.slice(0, 200)}
        keyOf={(row) => row.area}
        open={(row) => (chosen.value = row.area)}
        selected={chosen.value}
      />
      <p class="soft small">{tc("demand.as_of", { age: ago(items[0].as_of) })}</p>
    </div>
  );
}
