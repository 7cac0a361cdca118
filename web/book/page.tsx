// /book: what a customer sees. The home page, one booking, and one live page for each job.

import { useEffect, useMemo } from "preact/hooks";
import type { Live } from "../shared/live.ts";
import { t } from "../shared/i18n/i18n.ts";
import { partsBelow } from "../shared/router.ts";
import { AppHead } from "../shared/ui/app_head.tsx";
import { PhoneApp } from "../phone/app.ts";
import { registerWorker } from "../phone/install.ts";
import "../phone/phone.css";
import { Booking } from "./booking.tsx";
import { Home } from "./home.tsx";
import { JobPage } from "./job_page.tsx";
import "./book.css";

export function App({ live }: { live: Live }) {
  const app = useMemo(() => new PhoneApp(live), [live]);
  useEffect(() => {
    registerWorker("/book");
    return () => app.close();
  }, [app]);
  const [part, id] = partsBelow("/book");
  return (
    <>
      <AppHead live={live} title={t("start.book")} />
      <main id="content" class="phone" key={`${part}/${id}`}>
        {part === "new" && id
          ? <Booking app={app} service={id} />
          : part === "jobs" && id
          ? <JobPage app={app} id={id} />
          : <Home app={app} />}
      </main>
    </>
  );
}
