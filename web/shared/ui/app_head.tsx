// The bar at the top of an app: its name, the state of the connection, the theme, and who is signed in.

import type { ComponentChildren } from "preact";
import type { Live } from "../live.ts";
import { t } from "../i18n/i18n.ts";
import { meta } from "../meta.ts";
import { Connection } from "./connection.tsx";
import { Mark } from "./icons.tsx";
import { Avatar, Button } from "./parts.tsx";
import { LanguageButton, ThemeButton } from "./theme_choice.tsx";
import "./app_head.css";

export function AppHead({ live, title, children }: { live: Live; title: string; children?: ComponentChildren }) {
  const user = live.session.user.value;
  return (
    <>
      {meta.value?.demo && <p class="ribbon">{t("demo.ribbon")}</p>}
      <header class="app-head">
        <a href="/" class="brand" aria-label={t("app.name")}>
          <Mark size={28} />
        </a>
        <h1>{title}</h1>
        {children}
        <span class="grow" />
        <Connection live={live} />
        <LanguageButton />
        <ThemeButton />
        {user && (
          <Button
            kind="quiet"
            aria-label={`${t("action.sign_out")}: ${user.name}`}
            title={user.name}
            onClick={() => live.session.signOut()}
          >
            <Avatar name={user.name} />
            <span class="wide-only">{t("action.sign_out")}</span>
          </Button>
        )}
      </header>
    </>
  );
}
