// One booking: where (a pin under the middle of the map), how, when, for how much. The booking is stored before it is
// sent: after a lost connection or a reload it is sent again with the same key, and booked once.

import { useEffect, useRef, useState } from "preact/hooks";
import type { CalloutError } from "../shared/api.ts";
import { t } from "../shared/i18n/i18n.ts";
import type { CityMap } from "../shared/map.ts";
import { minorUnits, money } from "../shared/money.ts";
import { readStored, store } from "../shared/platform.ts";
import { go } from "../shared/router.ts";
import type { PublicBlueprint, Quote, Service, Technician } from "../shared/schema.ts";
import { Button, Card, ErrorNote, Field, Spinner } from "../shared/ui/parts.tsx";
import { Icon } from "../shared/ui/icons.tsx";
import { MapView } from "../shared/ui/map_view.tsx";
import { toast } from "../shared/ui/toast.tsx";
import type { PhoneApp } from "../phone/app.ts";
import { blueprints, services } from "../phone/blueprints.ts";
import { priceOf } from "../phone/price.tsx";
import { useWork } from "../phone/steps.tsx";
import { Slots } from "./slots.tsx";

export interface Spot {
  lat: number;
  lon: number;
}

const round = (degrees: number) => Math.round(degrees * 1e6) / 1e6;

export function Booking({ app, service: id }: { app: PhoneApp; service: string }) {
  const service = services.value.get(id);
  if (!service || !blueprints.value.size) return <Spinner label={t("book.loading")} />;
  return <BookingForm app={app} service={service} />;
}

function BookingForm({ app, service }: { app: PhoneApp; service: Service }) {
  const kinds = [...blueprints.value.values()].sort((one, other) => Number(other.default) - Number(one.default));
  const [spot, setSpot] = useState<Spot | null>(null);
  const [kind, setKind] = useState<PublicBlueprint>(kinds.find((each) => each.name === service.category) ?? kinds[0]);
  const [technician, setTechnician] = useState("");
  const [when, setWhen] = useState<string | null>(null);
  const [amount, setAmount] = useState("");
  const { busy, error, run } = useWork();
  const [quote, quoteError] = useQuote(app, kind, service, spot, when);
  const isQuoted = kind.price_source === "quote";
  const typed = minorUnits(amount, service.currency);
  const price = isQuoted ? quote?.amount : typed ?? service.base_amount;

  const book = async (event: SubmitEvent) => {
    event.preventDefault();
    if (!spot) return;
    const fields = new FormData(event.target as HTMLFormElement);
    const text = (name: string) => String(fields.get(name) ?? "").trim();
    store("address", text("address"));
    const body = {
      service: service.id,
      blueprint: kind.name,
      lat: round(spot.lat),
      lon: round(spot.lon),
      address: text("address"),
      ...(text("notes") && { notes: text("notes") }),
      ...(when && { scheduled_for: when }),
      ...(technician && kind.technician !== "no" && { technician }),
      ...(isQuoted && quote && { quote: quote.id }),
      ...(kind.price_source === "customer" && typed !== null && { amount: typed, currency: service.currency }),
    };
    await run(async () => {
      const reply = await app.outbox.send("POST", "/v1/jobs", body, { what: "book" });
      app.take(reply.job);
      go(`/book/jobs/${reply.job.id}`, { replace: true });
    });
  };

  return (
    <form class="stack booking" onSubmit={book}>
      <PinMap spot={spot} choose={setSpot} />
      <div class="lead">
        <h1>{service.name}</h1>
        <p class="soft">{t("book.pin_hint")}</p>
      </div>
      <Field label={t("book.address")} hint={t("book.address_hint")}>
        {(a) => (
          <input
            {...a}
            name="address"
            autocomplete="street-address"
            required
            maxLength={300}
            defaultValue={readStored("address") ?? ""}
          />
        )}
      </Field>
      {kinds.length > 1 && <Kinds kinds={kinds} chosen={kind} choose={setKind} />}
      {kind.technician !== "no" && spot && (
        <Technicians app={app} service={service} spot={spot} kind={kind} chosen={technician} choose={setTechnician} />
      )}
      <Slots
        app={app}
        service={service}
        kind={kind}
        spot={spot}
        technician={technician}
        chosen={when}
        choose={setWhen}
      />
      {kind.price_source === "customer" && (
        <Field label={t("book.amount", { currency: service.currency })} hint={t("book.amount_hint")}>
          {(a) => (
            <input
              {...a}
              inputMode="decimal"
              placeholder={money(service.base_amount, service.currency)}
              value={amount}
              onInput={(event) => setAmount(event.currentTarget.value)}
            />
          )}
        </Field>
      )}
      <Field label={t("book.notes")}>{(a) => <textarea {...a} name="notes" rows={2} maxLength={2000} />}</Field>
      {isQuoted && quote && <Breakdown quote={quote} />}
      <ErrorNote error={error ?? (isQuoted ? quoteError : null)} />
      <div class="book-bar">
        <Button
          type="submit"
          kind="main"
          big
          wide
          busy={busy}
          disabled={!spot || price === undefined || (kind.technician === "required" && !technician)}
        >
          {price === undefined ? t("book.book") : t("book.book_for", {
            price: priceOf({ amount: price, currency: service.currency, pricing: service.pricing }),
          })}
        </Button>
        {app.outbox.pending.value.some((each) => each.what === "book") && (
          <p class="small soft waits" role="status">{t("step.waits")}</p>
        )}
      </div>
    </form>
  );
}

/** The map with a pin in its middle: who moves the map moves the pin. */
function PinMap({ spot, choose }: { spot: Spot | null; choose: (spot: Spot) => void }) {
  const map = useRef<CityMap | null>(null);
  const locate = () => {
    if (!navigator.geolocation) return toast(t("place.denied"));
    navigator.geolocation.getCurrentPosition(
      ({ coords }) => {
        const here = { lat: coords.latitude, lon: coords.longitude };
        choose(here);
        map.current?.map.jumpTo({ center: [here.lon, here.lat], zoom: 16 });
      },
      () => toast(t("place.denied")),
      { enableHighAccuracy: true, timeout: 10_000, maximumAge: 60_000 },
    );
  };
  return (
    <div class="map-frame pin-map">
      <MapView
        label={t("book.map")}
        ready={(city) => {
          map.current = city;
          const stored = readStored("spot")?.split(" ").map(Number);
          if (stored?.length === 2) city.map.jumpTo({ center: [stored[1], stored[0]], zoom: 15 });
          else city.map.jumpTo({ zoom: Math.max(14, city.map.getZoom()) });
          const note = () => {
            const { lat, lng } = city.map.getCenter();
            choose({ lat, lon: lng });
            store("spot", `${round(lat)} ${round(lng)}`);
          };
          city.map.on("moveend", note);
          note();
        }}
      />
      <span class="pin" aria-hidden="true">
        <Icon name="pin" size={40} />
      </span>
      <Button class="use-place" icon="locate" onClick={locate}>{t("book.use_my_place")}</Button>
      {spot && (
        <span class="sr-only" role="status">
          {t("book.pin_at", { lat: spot.lat.toFixed(4), lon: spot.lon.toFixed(4) })}
        </span>
      )}
    </div>
  );
}

function Kinds(
  { kinds, chosen, choose }: {
    kinds: PublicBlueprint[];
    chosen: PublicBlueprint;
    choose: (kind: PublicBlueprint) => void;
  },
) {
  return (
    <fieldset class="kinds">
      <legend class="label small soft">{t("book.kind")}</legend>
      {kinds.map((kind) => (
        <label key={kind.name} data-chosen={kind.name === chosen.name || undefined}>
          <input type="radio" name="kind" checked={kind.name === chosen.name} onChange={() => choose(kind)} />
          <span>{kind.title}</span>
        </label>
      ))}
    </fieldset>
  );
}

/** Whom to ask: a blueprint may need a name. */
function Technicians(
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

/** The price of a blueprint that quotes: asked anew for another place or time, and before it runs out. */
function useQuote(
  app: PhoneApp,
  kind: PublicBlueprint,
  service: Service,
  spot: Spot | null,
  when: string | null,
): [Quote | null, CalloutError | null] {
  const [quote, setQuote] = useState<Quote | null>(null);
  const [error, setError] = useState<CalloutError | null>(null);
  const [turn, setTurn] = useState(0);
  const place = spot ? `${spot.lat.toFixed(3)} ${spot.lon.toFixed(3)}` : "";
  useEffect(() => {
    setQuote(null);
    if (kind.price_source !== "quote" || !spot) return;
    const end = new AbortController();
    let again: ReturnType<typeof setTimeout> | undefined;
    const ask = setTimeout(async () => {
      try {
        const body = {
          blueprint: kind.name,
          service: service.id,
          lat: round(spot.lat),
          lon: round(spot.lon),
          ...(when && { scheduled_for: when }),
        };
        const reply = await app.api.call("POST /v1/quotes", { body, signal: end.signal });
        if (end.signal.aborted) return;
        setQuote(reply.quote);
        setError(null);
        const left = Date.parse(reply.quote.expires_at) - Date.now() - 10_000;
        again = setTimeout(() => setTurn(turn + 1), Math.max(5_000, left));
      } catch (refusal) {
        if (!end.signal.aborted) setError(refusal as CalloutError);
      }
    }, 700);
    return () => {
      clearTimeout(ask);
      clearTimeout(again);
      end.abort();
    };
  }, [kind.name, service.id, place, when, turn]);
  return [quote, error];
}

function Breakdown({ quote }: { quote: Quote }) {
  return (
    <Card title={t("book.price")}>
      <dl class="bill">
        {quote.breakdown.filter((line) => line.amount !== 0).map((line) => (
          <div key={line.line}>
            <dt>{line.says}</dt>
            <dd class="number">{money(line.amount, quote.currency)}</dd>
          </div>
        ))}
        <div class="total">
          <dt>{t("book.total")}</dt>
          <dd class="number">{money(quote.amount, quote.currency)}</dd>
        </div>
      </dl>
    </Card>
  );
}
