// The frame of each app: its session, its connection, and the sign-in while nobody is signed in.

import type { ComponentType, JSX } from "preact";
import { useEffect, useMemo } from "preact/hooks";
import { known, t } from "./i18n/i18n.ts";
import { Live } from "./live.ts";
import { loadMeta } from "./meta.ts";
import { followLinks } from "./router.ts";
import { type AppName, appOf, Session } from "./session.ts";
import { Mark } from "./ui/icons.tsx";
import { Empty, LinkButton, Note } from "./ui/parts.tsx";
import { SignIn } from "./ui/sign_in.tsx";
import { Toasts } from "./ui/toast.tsx";

/** Return the element of an app. `Page` is shown to users of the app's roles, with an open connection. */
export function startApp(app: AppName, Page: ComponentType<{ live: Live }>): JSX.Element {
  const session = new Session(app);
  void session.start();
  void loadMeta().catch(() => {});
  followLinks(`/${app}`);
  return <Frame session={session} Page={Page} />;
}

function Frame({ session, Page }: { session: Session; Page: ComponentType<{ live: Live }> }) {
  const user = session.user.value;
  if (!session.ready.value) return session.waits.value ? <NoConnection session={session} /> : null;
  return (
    <>
      {!user
        ? <SignIn session={session} />
        : appOf(user.role) !== session.app
        ? <WrongApp session={session} />
        : <Connected key={user.id} session={session} Page={Page} />}
      <Toasts />
    </>
  );
}

function Connected({ session, Page }: { session: Session; Page: ComponentType<{ live: Live }> }) {
  const live = useMemo(() => new Live(session), []);
  useEffect(() => {
    live.open();
    return () => live.close();
  }, []);
  return (
    <>
      <a class="sr-only" href="#content">{t("app.skip")}</a>
      <Page live={live} />
    </>
  );
}

/** The page without a connection: what waits to be sent is stored, and sent as soon as there is one. */
function NoConnection({ session }: { session: Session }) {
  return (
    <div class="sign-in">
      <main id="content">
        <header>
          <Mark size={44} />
          <h1>{t(`sign.title.${session.app}`)}</h1>
        </header>
        <Empty icon="alert" title={t("connection.none")}>{t("connection.none_text")}</Empty>
      </main>
    </div>
  );
}

function WrongApp({ session }: { session: Session }) {
  const { role } = session.user.value!;
  const right = appOf(role);
  return (
    <main class="sign-in" id="content">
      <div class="stack">
        <h1>{t(`sign.title.${session.app}`)}</h1>
        <Note>{t("sign.wrong_role", { role: known("role", role) })}</Note>
        <LinkButton kind="main" href={`/${right}`}>{t(`sign.title.${right}`)}</LinkButton>
        <button type="button" class="button" onClick={() => session.signOut()}>{t("action.sign_out")}</button>
      </div>
    </main>
  );
}
