// Sign-in and registration, shared by all apps. In a demo it offers the demo's users first.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { CalloutError } from "../api.ts";
import { demoLogins, loadDemoLogins } from "../demo.ts";
import { known, t } from "../i18n/i18n.ts";
import { meta } from "../meta.ts";
import { appOf, type Session } from "../session.ts";
import { Mark } from "./icons.tsx";
import { Button, Card, ErrorNote, Field, Tabs } from "./parts.tsx";
import "./sign_in.css";

type Tab = "enter" | "create" | "token";
const tab = signal<Tab>("enter");
const error = signal<CalloutError | null>(null);
const busy = signal(false);

async function attempt(work: () => Promise<unknown>) {
  busy.value = true;
  error.value = null;
  try {
    await work();
  } catch (refusal) {
    error.value = refusal instanceof CalloutError
      ? refusal
      : new CalloutError({ code: "internal", title: String(refusal) });
  } finally {
    busy.value = false;
  }
}

/** The page of an app while nobody is signed in. */
export function SignIn({ session }: { session: Session }) {
  const { app } = session;
  useEffect(() => void loadDemoLogins(), []);
  const second: [Tab, string] = app === "console" ? ["token", t("sign.token")] : ["create", t("sign.new")];
  const tabs: [Tab, string][] = [["enter", t("sign.have_account")], second];
  const form = tabs.some(([name]) => name === tab.value) ? tab.value : "enter";
  return (
    <div class="sign-in">
      {meta.value?.demo && <p class="ribbon">{t("demo.ribbon")}</p>}
      <main id="content">
        <header>
          <a href="/" aria-label={t("app.name")}>
            <Mark size={44} />
          </a>
          <h1>{t(`sign.title.${app}`)}</h1>
          <p class="soft">{t(`sign.hint.${app}`)}</p>
        </header>
        <DemoLogins session={session} />
        <Card>
          <div class="stack">
            <Tabs label={t("action.sign_in")} tabs={tabs} chosen={form} choose={(name) => (tab.value = name)} />
            {form === "enter" && <EnterForm session={session} />}
            {form === "create" && <CreateForm session={session} />}
            {form === "token" && <TokenForm session={session} />}
            <ErrorNote error={error.value} />
          </div>
        </Card>
      </main>
    </div>
  );
}

function DemoLogins({ session }: { session: Session }) {
  const logins = demoLogins.value.filter((login) => appOf(login.role) === session.app);
  if (!logins.length) return null;
  return (
    <Card title={t("start.demo_logins")}>
      <div class="stack">
        {logins.map((login) => (
          <Button
            key={login.name}
            icon="user"
            wide
            busy={busy.value}
            onClick={() => attempt(() => session.enterDemo(login.role))}
          >
            {login.name} · {known("role", login.role)}
          </Button>
        ))}
      </div>
    </Card>
  );
}

function fieldsOf(event: SubmitEvent): Record<string, string> {
  event.preventDefault();
  return Object.fromEntries(new FormData(event.target as HTMLFormElement)) as Record<string, string>;
}

function EnterForm({ session }: { session: Session }) {
  return (
    <form
      class="stack"
      onSubmit={(event) => {
        const { email, password } = fieldsOf(event);
        void attempt(() => session.signIn(email, password));
      }}
    >
      <Field label={t("sign.email")}>
        {(a) => <input {...a} name="email" type="email" autocomplete="username" required />}
      </Field>
      <Field label={t("sign.password")}>
        {(a) => <input {...a} name="password" type="password" autocomplete="current-password" required />}
      </Field>
      <Button type="submit" kind="main" wide busy={busy.value}>{t("sign.enter")}</Button>
    </form>
  );
}

function CreateForm({ session }: { session: Session }) {
  return (
    <form
      class="stack"
      onSubmit={(event) => {
        const { email, password, name, phone } = fieldsOf(event);
        const role = session.app === "tech" ? "technician" : "customer";
        void attempt(() => session.register({ email, password, name, role, ...(phone ? { phone } : {}) }));
      }}
    >
      <Field label={t("sign.name")}>{(a) => <input {...a} name="name" autocomplete="name" required />}</Field>
      <Field label={t("sign.email")}>
        {(a) => <input {...a} name="email" type="email" autocomplete="username" required />}
      </Field>
      <Field label={t("sign.phone")}>{(a) => <input {...a} name="phone" type="tel" autocomplete="tel" />}</Field>
      <Field label={t("sign.password")} hint={t("sign.password_hint")}>
        {(a) => <input {...a} name="password" type="password" minLength={8} autocomplete="new-password" required />}
      </Field>
      <Button type="submit" kind="main" wide busy={busy.value}>{t("sign.create")}</Button>
    </form>
  );
}

function TokenForm({ session }: { session: Session }) {
  return (
    <form class="stack" onSubmit={(event) => void attempt(() => session.enterToken(fieldsOf(event).token))}>
      <Field label={t("sign.token_label")} hint={t("sign.staff_hint")}>
        {(a) => <textarea {...a} name="token" rows={3} spellcheck={false} required />}
      </Field>
      <Button type="submit" kind="main" wide busy={busy.value}>{t("sign.enter")}</Button>
    </form>
  );
}
