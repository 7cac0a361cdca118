import { useEffect } from "preact/hooks";
import { signal } from "@preact/signals";
import { type CalloutError } from "../shared/api.ts";
import { type DemoLogin, demoLogins, loadDemoLogins } from "../shared/demo.ts";
import { known, t } from "../shared/i18n/i18n.ts";
import { loadMeta, meta } from "../shared/meta.ts";
import { type AppName, appOf, Session } from "../shared/session.ts";
import { Icon, type IconName, Mark } from "../shared/ui/icons.tsx";
import { Button, Card, ErrorNote } from "../shared/ui/parts.tsx";
import { LanguageButton, ThemeButton } from "../shared/ui/theme_choice.tsx";
import "./start.css";

const DOORS: readonly { name: AppName; icon: IconName; roles: string }[] = [
  { name: "console", icon: "map", roles: "ops" },
  { name: "book", icon: "pin", roles: "customer" },
  { name: "tech", icon: "wrench", roles: "technician" },
];

const error = signal<CalloutError | null>(null);
const busy = signal("");

async function load() {
  error.value = null;
  try {
    await loadMeta();
    await loadDemoLogins();
  } catch (refusal) {
    error.value = refusal as CalloutError;
  }
}

async function enter(login: DemoLogin) {
  busy.value = login.name;
  error.value = null;
  const app = appOf(login.role);
  try {
    await new Session(app).enterDemo(login.role);
    location.assign(`/${app}`);
  } catch (refusal) {
    error.value = refusal as CalloutError;
  }
  busy.value = "";
}

export function App() {
  useEffect(() => void load(), []);
  return (
    <>
      <a class="sr-only" href="#content">{t("app.skip")}</a>
      {meta.value?.demo && <p class="ribbon">{t("demo.ribbon")}</p>}
      <header class="start-head">
        <a class="brand" href="/">
          <Mark size={30} />
          {t("app.name")}
        </a>
        <nav class="row">
          <LanguageButton />
          <ThemeButton />
        </nav>
      </header>
      <main id="content" class="start">
        <section class="hero">
          <h1>{t("start.headline")}</h1>
          <p>{t("start.intro")}</p>
        </section>
        <ErrorNote error={error.value} retry={load} />
        <h2 class="ask">{t("start.who")}</h2>
        <div class="doors">{DOORS.map((door) => <Door key={door.name} {...door} />)}</div>
        <DemoCard />
        <div class="doors small-doors">
          <Plain href="/docs" icon="code" title={t("start.api")} text={t("start.api_text")} />
          <Plain href="/web/try.html" icon="activity" title={t("start.try")} text={t("start.try_text")} />
          <Plain href="/docs/first-hour" icon="book" title={t("start.first_hour")} text={t("start.docs")} />
        </div>
      </main>
      <footer class="start-foot soft small">
        {meta.value && <span>{t("start.version", { version: meta.value.version })}</span>}
        <a href="/docs/pages">{t("start.docs")}</a>
        <a href="/openapi.json">/openapi.json</a>
        <a href="/asyncapi.json">/asyncapi.json</a>
        <a href="/readyz">/readyz</a>
      </footer>
    </>
  );
}

function Door({ name, icon }: { name: AppName; icon: IconName }) {
  return (
    <a class="card door" href={`/${name}`} data-door={name}>
      <span class="door-icon">
        <Icon name={icon} size={26} />
      </span>
      <strong>{t(`start.${name}`)}</strong>
      <span class="soft">{t(`start.${name}_text`)}</span>
    </a>
  );
}

function Plain({ href, icon, title, text }: { href: string; icon: IconName; title: string; text: string }) {
  return (
    <a class="card door" href={href}>
      <Icon name={icon} size={22} />
      <strong>{title}</strong>
      <span class="soft small">{text}</span>
    </a>
  );
}

function DemoCard() {
  if (!demoLogins.value.length) return null;
  return (
    <Card title={t("start.demo_logins")} class="demo-card">
      <p class="soft">{t("start.demo_logins_text")}</p>
      <div class="logins">
        {demoLogins.value.map((login) => (
          <Button
            key={login.name}
            icon="user"
            busy={busy.value === login.name}
            onClick={() => enter(login)}
          >
            <span>
              <strong>{login.name}</strong> · {known("role", login.role)}
            </span>
          </Button>
        ))}
      </div>
    </Card>
  );
}
