// The customer chooses the time of the job: now, or one of the times at which a technician near by is free.

import { useEffect, useState } from "preact/hooks";
import { t } from "../shared/i18n/i18n.ts";
import type { PublicBlueprint, Service, Slot } from "../shared/schema.ts";
import { dayAndTime, serverNow } from "../shared/time.ts";
import { Button, Field } from "../shared/ui/parts.tsx";
import type { PhoneApp } from "../phone/app.ts";
import type { Spot } from "./spot.ts";

const AHEAD_MS = 7 * 86_400_000;
const HOUR_MS = 3_600_000;

export function Slots(
  { app, service, kind, spot, technician, chosen, choose }: {
    app: PhoneApp;
    service: Service;
    kind: PublicBlueprint;
    spot: Spot | null;
    technician: string;
    chosen: string | null;
    choose: (when: string | null) => void;
  },
) {
  const [later, setLater] = useState(false);
  const [slots, setSlots] = useState<Slot[] | null>(null);
  const place = spot ? `${spot.lat.toFixed(2)} ${spot.lon.toFixed(2)}` : "";
  useEffect(() => {
    if (!later || !spot) return;
    const [from, to] = [serverNow() + HOUR_MS, serverNow() + AHEAD_MS].map((ms) => new Date(ms).toISOString());
    const query = {
      service: service.id,
      lat: spot.lat,
      lon: spot.lon,
      from,
      to,
      blueprint: kind.name,
      limit: 60,
      ...(technician && kind.technician !== "no" && { technician }),
    };
    void app.api.call("GET /v1/slots", { query }).then(({ items }) => setSlots(items)).catch(() => setSlots([]));
  }, [later, service.id, place, kind.name, technician]);
  return (
    <section class="stack" aria-label={t("book.when")}>
      <div class="row">
        <Button aria-pressed={!later} onClick={() => (setLater(false), choose(null))}>{t("book.now")}</Button>
        <Button aria-pressed={later} icon="clock" onClick={() => setLater(true)}>{t("book.later")}</Button>
      </div>
      {later && slots && slots.length > 0 && (
        <Field label={t("book.slot")}>
          {(a) => (
            <select
              {...a}
              value={chosen ?? ""}
              onChange={(event) => choose(event.currentTarget.value || null)}
              required
            >
              <option value="">{t("book.choose_slot")}</option>
              {slots.map((slot) => <option key={slot.from} value={slot.from}>{dayAndTime(slot.from)}</option>)}
            </select>
          )}
        </Field>
      )}
      {later && slots && !slots.length && (
        <Field label={t("book.time")} hint={t("book.no_slots")}>
          {(a) => (
            <input
              {...a}
              type="datetime-local"
              required
              onChange={(event) => {
                const { value } = event.currentTarget;
                choose(value ? new Date(value).toISOString() : null);
              }}
            />
          )}
        </Field>
      )}
    </section>
  );
}
