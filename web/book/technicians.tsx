// The customer chooses a technician. Some blueprints need this at the booking.

import { useEffect, useState } from "preact/hooks";
import { t } from "../shared/i18n/i18n.ts";
import type { PublicBlueprint, Service, Technician } from "../shared/schema.ts";
import { Spinner } from "../shared/ui/parts.tsx";
import type { PhoneApp } from "../phone/app.ts";
import { round, type Spot } from "./spot.ts";

export function Technicians(
  { app, service, spot, kind, chosen, choose }: {
    app: PhoneApp;
    service: Service;
    spot: Spot;
    kind: PublicBlueprint;
    chosen: string;
    choose: (id: string) => void;
  },
) {
  const [found, setFound] = useState<Technician[] | null>(null);
  const place = `${spot.lat.toFixed(2)} ${spot.lon.toFixed(2)}`;
  useEffect(() => {
    const query = { service: service.id, lat: round(spot.lat), lon: round(spot.lon), limit: 8 };
    void app.api.call("GET /v1/technicians", { query }).then(({ items }) => setFound(items)).catch(() => setFound([]));
  }, [service.id, place]);
  const isOptional = kind.technician === "optional";
  if (!found) return <Spinner label={t("book.loading")} />;
  return (
    <section class="stack" aria-label={t("book.whom")}>
      <h2>{t("book.whom")}</h2>
      {!found.length && !isOptional && <p class="soft">{t("book.nobody")}</p>}
      <ul class="list">
        {isOptional && (
          <li>
            <button type="button" aria-pressed={!chosen} onClick={() => choose("")}>{t("book.anybody")}</button>
          </li>
        )}
        {found.map((each) => (
          <li key={each.id}>
            <button type="button" aria-pressed={chosen === each.id} onClick={() => choose(each.id)}>
              <span class="grow">
                <strong>{each.name}</strong>
              </span>
              <span class="number small">★ {each.rating.toFixed(1)} ({each.rating_count})</span>
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}
