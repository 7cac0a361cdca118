// The state of the connection, by form, word and colour, and the age of what is shown while there is none.

import type { Live } from "../live.ts";
import { clock, duration } from "../time.ts";
import { t } from "../i18n/i18n.ts";

export function Connection({ live }: { live: Live }) {
  const [status, polls] = [live.status.value, live.transport.value === "polling"];
  const text = status === "connected" && polls ? t("connection.polling") : t(`connection.${status}`);
  const lost = live.lostAt.value;
  const age = lost !== null && clock.value ? (performance.now() - lost) / 1000 : 0;
  return (
    <span class="connection" data-status={status} role="status" title={live.reason.value}>
      {text}
      {age > 3 && <span class="number">· {duration(age)}</span>}
    </span>
  );
}
