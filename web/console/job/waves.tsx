// The people whom the engine asked in each wave, and why others were left out.

import { distance, timeOfDay } from "../../shared/time.ts";
import { Chip, type Column, Empty, Table } from "../../shared/ui/parts.tsx";
import type { Job, Wave } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { tc, word } from "../i18n/texts.ts";
import { useLoaded } from "../load.ts";
import { personPath } from "../nav.ts";
import { Shown } from "../shown.tsx";

type Score = NonNullable<Wave["scores"]>[number];

export function WavesTab({ console, job }: { console: Console; job: Job }) {
  const loaded = useLoaded(() => console.api.list("GET /v1/jobs/{id}/waves", { params: { id: job.id } }), [
    job.id,
    job.version,
  ]);
  return (
    <Shown loaded={loaded}>
      {(waves) =>
        waves.length
          ? (
            <div class="stack">
              {waves.map((wave) => <OneWave key={`${wave.wave} ${wave.at}`} console={console} wave={wave} />)}
            </div>
          )
          : <Empty icon="people" title={tc("waves.none")}>{tc("waves.none_text")}</Empty>}
    </Shown>
  );
}

function OneWave({ console, wave }: { console: Console; wave: Wave }) {
  const out = Object.entries(wave.out).sort(([, a], [, b]) => b.count - a.count);
  return (
    <section class="wave-card" aria-label={tc("waves.title", { n: wave.wave })}>
      <h3>
        {tc(wave.window ? "waves.window" : "waves.title", { n: wave.wave })}{" "}
        <span class="soft">
          {timeOfDay(wave.at)} · {wave.radius_m === null ? tc("waves.whole_zone") : distance(wave.radius_m)} ·{" "}
          {tc("waves.visited", { n: wave.visited })}
        </span>
      </h3>
      <Group console={console} name={tc("waves.asked")} state="done" count={wave.in.count} ids={wave.in.technicians} />
      {out.map(([reason, group]) => (
        <Group
          key={reason}
          console={console}
          name={word("reason", reason)}
          state="closed"
          count={group.count}
          ids={group.technicians}
        />
      ))}
      {wave.why_not_nearest && (
        <p class="small">{tc("waves.why_not_nearest", { why: word("reason", wave.why_not_nearest) })}</p>
      )}
      {!!wave.scores?.length && <Scores console={console} scores={wave.scores as Score[]} />}
    </section>
  );
}

interface GroupProps {
  console: Console;
  name: string;
  state: "done" | "closed";
  count: number;
  ids: string[];
}

function Group({ console, name, state, count, ids }: GroupProps) {
  return (
    <p class="group">
      <Chip state={state}>
        {name} <span class="number">{count}</span>
      </Chip>{" "}
      {ids.map((id, i) => (
        <span key={id}>
          {i > 0 && ", "}
          <a href={personPath(id)}>{console.people.name(id)}</a>
        </span>
      ))}
      {count > ids.length && <span class="soft">{` ${tc("waves.and_more", { n: count - ids.length })}`}</span>}
    </p>
  );
}

function Scores({ console, scores }: { console: Console; scores: Score[] }) {
  const parts = ["score", "distance", "rating", "acceptance", "waiting", "workload"] as const;
  const columns: Column<Score>[] = [
    { name: "technician", head: tc("jobs.technician"), cell: (row) => console.people.name(row.technician) },
    ...parts.map((part): Column<Score> => ({
      name: part,
      head: tc(`score.${part}`),
      number: true,
      cell: (row) => row[part].toFixed(2),
    })),
  ];
  return <Table caption={tc("waves.scores")} columns={columns} rows={scores} keyOf={(row) => row.technician} />;
}
