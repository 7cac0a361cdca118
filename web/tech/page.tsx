import type { Live } from "../shared/live.ts";
import { t } from "../shared/i18n/i18n.ts";
import { AppHead } from "../shared/ui/app_head.tsx";
import { MapView } from "../shared/ui/map_view.tsx";

export function App({ live }: { live: Live }) {
  return (
    <>
      <AppHead live={live} title={t("start.tech")} />
      <main id="content">
        <MapView label={t("start.tech")} />
      </main>
    </>
  );
}
