// One booking: where (a pin in the middle of the map), how, when, and for how much. The browser stores the booking
// before it sends it. After a lost connection or a reload the browser sends it again with the same key, and the server
// books it once.

import { useState } from "preact/hooks";
import { t } from "../shared/i18n/i18n.ts";
import { minorUnits, money } from "../shared/money.ts";
import { readStored, store } from "../shared/platform.ts";
import { go } from "../shared/router.ts";
import type { PublicBlueprint, Service } from "../shared/schema.ts";
import { Button, ErrorNote, Field, Spinner } from "../shared/ui/parts.tsx";
import type { PhoneApp } from "../phone/app.ts";
import { blueprints, services } from "../phone/blueprints.ts";
import { priceOf } from "../phone/price.tsx";
import { useWork } from "../phone/steps.tsx";
import { PinMap } from "./pin_map.tsx";
import { Breakdown, useQuote } from "./quote.tsx";
import { Slots } from "./slots.tsx";
import { round, type Spot } from "./spot.ts";
import { Technicians } from "./technicians.tsx";

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
