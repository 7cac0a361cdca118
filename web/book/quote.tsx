// The price before the booking, for blueprints that give a quote.

import { useEffect, useState } from "preact/hooks";
import type { CalloutError } from "../shared/api.ts";
import { t } from "../shared/i18n/i18n.ts";
import { money } from "../shared/money.ts";
import type { PublicBlueprint, Quote, Service } from "../shared/schema.ts";
import { Card } from "../shared/ui/parts.tsx";
import type { PhoneApp } from "../phone/app.ts";
import { round, type Spot } from "./spot.ts";

/** Call `work` now, or when the hidden page is shown again. */
function whenVisible(work: () => void): void {
  if (!document.hidden) return work();
  document.addEventListener("visibilitychange", work, { once: true });
}

/** The price of a blueprint that gives a quote. The page requests a new quote for another place or time, and before the present one expires. */
export function useQuote(
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
        again = setTimeout(() => whenVisible(() => !end.signal.aborted && setTurn(turn + 1)), Math.max(5_000, left));
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

/** The parts of the price. */
export function Breakdown({ quote }: { quote: Quote }) {
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
