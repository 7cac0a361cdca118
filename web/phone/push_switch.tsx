// The switch that turns Web Push on and off. Where there is none, nothing of it is shown.

import { useState } from "preact/hooks";
import { t } from "../shared/i18n/i18n.ts";
import { Card, ErrorNote, Note } from "../shared/ui/parts.tsx";
import type { PhoneApp } from "./app.ts";
import { useWork } from "./steps.tsx";

/** `invite`: only shown while it is off. */
export function PushSwitch({ app, invite = false }: { app: PhoneApp; invite?: boolean }) {
  const { busy, error, run } = useWork();
  const [touched, setTouched] = useState(false);
  const { push } = app;
  const state = push.state.value;
  if (state === "none" || (invite && state !== "off" && !touched)) return null;
  const isOn = state === "on";
  const change = () => {
    setTouched(true);
    void run(() => isOn ? push.turnOff() : push.turnOn());
  };
  return (
    <Card title={t("push.title")}>
      <div class="stack">
        <button
          type="button"
          role="switch"
          class="switch"
          aria-checked={isOn}
          aria-busy={busy || undefined}
          disabled={busy || state === "blocked"}
          onClick={change}
        >
          <span class="grow">{t(app.live.session.app === "tech" ? "push.tech" : "push.book")}</span>
          <span class="switch-knob" aria-hidden="true" />
        </button>
        {state === "blocked" && <Note kind="warning">{t("push.blocked")}</Note>}
        <ErrorNote error={error} />
      </div>
    </Card>
  );
}
