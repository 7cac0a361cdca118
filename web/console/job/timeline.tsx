// The history of a job as a chart over time: its states as bands, and below them each wave as a bar with the number of
// people whom it asked. A line across the bar is a refusal of an offer. Under the chart the same changes are a list.

import { known } from "../../shared/i18n/i18n.ts";
import { ago, clock, dayAndTime, duration } from "../../shared/time.ts";
import { Card } from "../../shared/ui/parts.tsx";
import type { AuditEntry, HistoryItem, Job, Wave } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { isLive } from "../data/jobs.ts";
import { tc, word } from "../i18n/texts.ts";
import { useLoaded } from "../load.ts";
import { Shown } from "../shown.tsx";

const WIDTH = 1000;
const BAND_H = 34;
const WAVE_H = 16;
/** A band or bar narrower than this, in thousandths of the chart, has no text. */
const MIN_TEXT = 90;
/** The length in ms with which the last wave is drawn, because no event says when it ends. */
const LAST_WAVE_MS = 15_000;
const MAX_DECLINED = 200;

interface Band {
  state: string;
  from: number;
  to: number;
}

/** Return the states of a job one after another, in ms. */
export function bandsOf(history: HistoryItem[], end: number): Band[] {
  const bands: Band[] = [];
  for (const { at, to } of history) {
    const last = bands.at(-1);
    if (!to || last?.state === to) continue;
    if (last) last.to = Date.parse(at);
    bands.push({ state: to, from: Date.parse(at), to: end });
  }
  return bands;
}

export function Timeline({ console, job }: { console: Console; job: Job }) {
  const loaded = useLoaded(async () => {
    const params = { id: job.id };
    const query = { zone: job.zone, entity: "job", id: job.id, action: "offer.declined" };
    const [history, waves, declined] = await Promise.all([
      console.api.list("GET /v1/jobs/{id}/history", { params }),
      console.isOps ? console.api.list("GET /v1/jobs/{id}/waves", { params }) : [],
      console.isOps ? console.api.list("GET /v1/audit", { query, limit: MAX_DECLINED }) : [],
    ]);
    history.sort((a, b) => a.seq - b.seq);
    return { history, waves, declined };
  }, [job.id, job.version]);
  return (
    <Card title={tc("timeline.title")}>
      <Shown loaded={loaded}>
        {(parts) => (
          <>
            <Chart console={console} job={job} {...parts} />
            <Changes console={console} history={parts.history} />
            <Declined console={console} declined={parts.declined} />
          </>
        )}
      </Shown>
    </Card>
  );
}

interface Parts {
  history: HistoryItem[];
  waves: Wave[];
  declined: AuditEntry[];
}

function Chart({ console, job, history, waves, declined }: Parts & { console: Console; job: Job }) {
  const end = isLive(job) ? clock.value : Date.parse(history.at(-1)?.at ?? job.updated_at ?? "");
  const bands = bandsOf(history, end);
  if (!bands.length) return null;
  const [from, length] = [bands[0].from, Math.max(1000, end - bands[0].from)];
  const x = (at: number) => Math.max(0, Math.min(WIDTH, ((at - from) / length) * WIDTH));
  const height = BAND_H + (waves.length || declined.length ? WAVE_H + 10 : 0);
  const bars = waves.map((wave, i) => {
    const at = x(Date.parse(wave.at));
    const next = x(waves[i + 1] ? Date.parse(waves[i + 1].at) : Math.min(end, Date.parse(wave.at) + LAST_WAVE_MS));
    return { key: `${wave.wave} ${wave.at}`, at, width: Math.max(2, next - at - 1), asked: wave.in.count };
  });
  const texts = bands.map((band) => `${band.state.replaceAll("_", " ")} ${duration((band.to - band.from) / 1000)}`);
  return (
    <figure class="timeline">
      <svg viewBox={`0 0 ${WIDTH} ${height}`} preserveAspectRatio="none" role="img" aria-label={texts.join(", ")}>
        {bands.map((band) => (
          <rect
            key={band.from}
            class="band"
            data-phase={phaseOf(console, job, band.state)}
            x={x(band.from)}
            width={Math.max(1, x(band.to) - x(band.from) - 1)}
            height={BAND_H}
          />
        ))}
        {bars.map(({ key, at, width }) => (
          <rect key={key} class="wave" x={at} y={BAND_H + 6} width={width} height={WAVE_H} />
        ))}
        {declined.map(({ seq, at, actor }) => (
          <rect key={seq} class="declined" x={x(Date.parse(at)) - 1} y={BAND_H + 2} width={3} height={WAVE_H + 8}>
            <title>{`${tc("outcome.declined")}: ${actorName(console, actor)}`}</title>
          </rect>
        ))}
      </svg>
      <div class="band-texts" aria-hidden="true">
        {bands.map((band, i) => {
          const width = x(band.to) - x(band.from);
          return width < MIN_TEXT
            ? null
            : (
              <span key={band.from} ref={placed(x(band.from) / 10, width / 10)} title={texts[i]}>
                {band.state.replaceAll("_", " ")}
              </span>
            );
        })}
      </div>
      <div class="wave-texts" aria-hidden="true">
        {bars.filter(({ width }) => width > MIN_TEXT).map(({ key, at, width, asked }) => (
          <span key={key} ref={placed(at / 10, width / 10)}>{tc("timeline.asked", { n: asked })}</span>
        ))}
      </div>
      <figcaption class="soft small">
        {tc("timeline.caption", { duration: duration(length / 1000) })}
        {waves.length > 0 &&
          ` · ${tc("timeline.waves", { n: waves.length })} · ${tc("timeline.asked", { n: askedIn(waves) })}`}
        {declined.length > 0 && ` · ${tc("timeline.declined", { n: declined.length })}`}
      </figcaption>
    </figure>
  );
}

/** Place an element by percent. The style is set as a property, because the page's security policy forbids `style`
 * attributes. */
function placed(left: number, width: number) {
  return (element: HTMLElement | null) => {
    if (!element) return;
    element.style.insetInlineStart = `${left}%`;
    element.style.inlineSize = `${width}%`;
  };
}

function phaseOf(console: Console, job: Job, state: string): string {
  return console.blueprints.state({ blueprint: job.blueprint, status: state })?.phase ?? "open";
}

function askedIn(waves: Wave[]): number {
  return waves.reduce((sum, wave) => sum + wave.in.count, 0);
}

function Changes({ console, history }: { console: Console; history: HistoryItem[] }) {
  return (
    <details class="changes">
      <summary>{tc("timeline.changes", { n: history.length })}</summary>
      <ol>
        {history.map((item) => (
          <li key={item.seq}>
            <time dateTime={item.at} title={dayAndTime(item.at)}>{ago(item.at)}</time>
            <span>
              <strong>{word("command", item.command)}</strong>
              {item.from !== item.to && item.to && <span>{` → ${item.to.replaceAll("_", " ")}`}</span>}
              <span class="soft">{` · ${actorName(console, item.actor)}`}</span>
              {item.reason && <span class="soft">{` · “${item.reason}”`}</span>}
            </span>
          </li>
        ))}
      </ol>
    </details>
  );
}

function Declined({ console, declined }: { console: Console; declined: AuditEntry[] }) {
  if (!declined.length) return null;
  return (
    <details class="changes">
      <summary>{tc("timeline.declined", { n: declined.length })}</summary>
      <ol>
        {declined.map(({ seq, at, actor }) => (
          <li key={seq}>
            <time dateTime={at} title={dayAndTime(at)}>{ago(at)}</time>
            <span>{actorName(console, actor)}</span>
          </li>
        ))}
      </ol>
    </details>
  );
}

/** `technician:usr_1` as a name, where it is known. */
export function actorName(console: Console, actor: string): string {
  const [role, id] = actor.split(":", 2);
  if (!id) return known("role", role);
  const name = console.people.technicians.value.get(id)?.name;
  return name ? `${name} (${known("role", role)})` : `${known("role", role)} ${id.slice(-6)}`;
}
