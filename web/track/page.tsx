// /track/<token>: where the technician of a job is, for everybody who has the link. The page needs no account and shows
// no name and no address: only one sentence, and the map while it has something to show.

import { useEffect, useState } from "preact/hooks";
import { CalloutError, callPublic } from "../shared/api.ts";
import { known, t } from "../shared/i18n/i18n.ts";
import type { SharedJob } from "../shared/schema.ts";
import { ago, clock, duration, setServerTime } from "../shared/time.ts";
import { Chip, Empty, ErrorNote, Spinner } from "../shared/ui/parts.tsx";
import { Mark } from "../shared/ui/icons.tsx";
import { LanguageButton, ThemeButton } from "../shared/ui/theme_choice.tsx";
import { JobMap } from "../phone/job_map.tsx";
import "../phone/phone.css";
import "../shared/ui/ui.css";

type State = "loading" | "open" | "ended";

export function App() {
  const token = location.pathname.split("/")[2] ?? "";
  const [state, setState] = useState<State>("loading");
  const [shared, setShared] = useState<SharedJob | null>(null);
  const [error, setError] = useState<CalloutError | null>(null);
  const [isCut, setCut] = useState(false);
  const [turn, setTurn] = useState(0);
  useEffect(() => {
    let stream: EventSource | null = null;
    const take = (job: SharedJob) => {
      setServerTime(job.as_of);
      setShared(job);
      setState("open");
      setCut(false);
      setError(null);
    };
    const end = () => {
      stream?.close();
      setState("ended");
    };
    const open = () => {
      stream?.close();
      stream = new EventSource(`/v1/shares/${encodeURIComponent(token)}`);
      stream.onmessage = ({ data }) => take(JSON.parse(data));
      stream.addEventListener("end", end);
      stream.onerror = () => setCut(true);
    };
    // An event stream does not say why it is refused, so the page sends an ordinary request first.
    const start = async () => {
      try {
        take(await callPublic("GET", `/v1/shares/${encodeURIComponent(token)}`) as SharedJob);
        if (!document.hidden) open();
      } catch (refusal) {
        if ((refusal as CalloutError).code === "not_found") end();
        else setError(refusal as CalloutError);
      }
    };
    const onVisibility = () => document.hidden ? stream?.close() : void start();
    document.addEventListener("visibilitychange", onVisibility);
    void start();
    return () => {
      document.removeEventListener("visibilitychange", onVisibility);
      stream?.close();
    };
  }, [token, turn]);
  const position = shared?.position;
  const isOld = position && (position.stale || isCut);
  return (
    <main id="content" class="phone">
      <header class="row">
        <Mark />
        <strong class="grow">{t("app.name")}</strong>
        <LanguageButton />
        <ThemeButton />
      </header>
      {state === "loading" && !error && <Spinner label={t("book.loading")} />}
      <ErrorNote error={error} retry={() => setTurn(turn + 1)} />
      {state === "ended" && <Empty icon="check" title={t("track.ended")}>{t("track.ended_text")}</Empty>}
      {state === "open" && shared && (
        <>
          {position && (
            <div class="map-frame track-map">
              <JobMap label={t("job.map")} marker={{ ...position, stale: !!isOld, jump: position.jump ?? false }} />
            </div>
          )}
          <div class="lead">
            <div class="row">
              <Chip state={shared.phase}>{known("phase", shared.phase)}</Chip>
            </div>
            <h1 aria-live="polite">
              {shared.eta_s !== undefined && shared.eta_s !== null && !isOld
                ? t("track.eta", { duration: duration(etaNow(shared)) })
                : shared.says}
            </h1>
            {shared.eta_s !== undefined && shared.eta_s !== null && <p class="soft">{shared.says}</p>}
            {position && (
              <p class="soft small">{t(isOld ? "job.position_stale" : "job.position", { ago: ago(position.at) })}</p>
            )}
            {isCut && <p class="soft small" role="status">{t("connection.reconnecting")}</p>}
          </div>
          <p class="small soft">{t("track.text")}</p>
        </>
      )}
    </main>
  );
}

/** Return the seconds that are left now. The estimate in `shared` was made when the server sent `shared`. */
function etaNow(shared: SharedJob): number {
  return Math.max(10, (shared.eta_s ?? 0) - (clock.value - Date.parse(shared.as_of)) / 1000);
}
