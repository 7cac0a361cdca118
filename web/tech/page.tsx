// /tech: what a technician sees. While offline or waiting, a page for that; an offer above everything else; and the
// page of the present job.

import { useEffect, useMemo } from "preact/hooks";
import type { Live } from "../shared/live.ts";
import { t } from "../shared/i18n/i18n.ts";
import { partsBelow } from "../shared/router.ts";
import { AppHead } from "../shared/ui/app_head.tsx";
import { Spinner } from "../shared/ui/parts.tsx";
import { PhoneApp } from "../phone/app.ts";
import { registerWorker } from "../phone/install.ts";
import "../phone/phone.css";
import { Earnings } from "./earnings.tsx";
import { OfferScreen } from "./offer.tsx";
import { Off } from "./off.tsx";
import { OwnPlace } from "./place.ts";
import { Profile } from "./profile.tsx";
import { Waiting } from "./waiting.tsx";
import { Work } from "./work.tsx";
import "./tech.css";

export function App({ live }: { live: Live }) {
  const app = useMemo(() => new PhoneApp(live), [live]);
  const place = useMemo(() => new OwnPlace(app), [app]);
  useEffect(() => {
    registerWorker("/tech");
    return () => {
      place.close();
      app.close();
    };
  }, [app]);
  const [part, id] = partsBelow("/tech");
  return (
    <>
      <AppHead live={live} title={t("start.tech")} />
      <main id="content" class="phone" key={`${part}/${id}`}>
        <Screen app={app} place={place} part={part} id={id} />
      </main>
      <OfferScreen app={app} />
    </>
  );
}

function Screen({ app, place, part, id }: { app: PhoneApp; place: OwnPlace; part?: string; id?: string }) {
  if (part === "profile") return <Profile app={app} />;
  if (part === "earnings") return <Earnings app={app} />;
  if (part === "jobs" && id) return <Work app={app} place={place} id={id} />;
  const technician = app.technician.value;
  if (!technician) return <Spinner label={t("book.loading")} />;
  return technician.online ? <Waiting app={app} place={place} /> : <Off app={app} place={place} />;
}
