// What the service worker of an app does with a push: it shows a notification, and a tap on that opens the page.

/** The types that only a service worker has. */
interface PushEvent extends Event {
  data: { json(): unknown } | null;
  waitUntil(work: Promise<unknown>): void;
}
interface TapEvent extends Event {
  notification: Notification;
  waitUntil(work: Promise<unknown>): void;
}
interface Window {
  url: string;
  visibilityState: string;
  focus(): Promise<unknown>;
  postMessage(message: unknown): void;
}
interface Worker {
  clients: {
    matchAll(options: { type: "window"; includeUncontrolled: boolean }): Promise<Window[]>;
    openWindow(path: string): Promise<unknown>;
  };
  registration: ServiceWorkerRegistration;
  navigator: Navigator;
  addEventListener(name: "push", listener: (event: PushEvent) => void): void;
  addEventListener(name: "notificationclick", listener: (event: TapEvent) => void): void;
}

/** What the server sends (docs/push.md). */
interface Push {
  kind?: "offer" | "notification";
  title?: string;
  body?: string;
  job?: string;
  room?: string;
}

/** The title of an offer whose blueprint has no text for it. The texts of the pages are not loaded for two lines. */
const OFFER_TITLES: Record<string, string> = { en: "A job is offered to you", de: "Ihnen wird ein Auftrag angeboten" };

/** Let the worker of the app at `app` (such as `/book`) show pushes. */
export function showPushes(app: string): void {
  const worker = self as unknown as Worker;

  worker.addEventListener("push", (event) => {
    event.waitUntil(show(read(event)));
  });
  worker.addEventListener("notificationclick", (event) => {
    event.notification.close();
    event.waitUntil(open(event.notification.data?.path ?? app));
  });

  /** A page that is visible shows the same by itself, and rings. */
  async function show(push: Push): Promise<void> {
    if ((await windows()).some((each) => each.visibilityState === "visible")) return;
    const language = worker.navigator.language.slice(0, 2);
    const title = push.title || (push.kind === "offer" ? OFFER_TITLES[language] ?? OFFER_TITLES.en : "Callout");
    // An offer is answered on the first page of the app, above everything else.
    const path = push.job && push.kind !== "offer" ? `${app}/jobs/${encodeURIComponent(push.job)}` : app;
    const tag = `${push.kind}:${push.room ?? push.job ?? ""}`;
    const options = { body: push.body, tag, renotify: true, icon: `${app}/icon-192.png`, data: { path } };
    await worker.registration.showNotification(title, options);
  }

  async function open(path: string): Promise<void> {
    const [page] = await windows();
    if (!page) return void await worker.clients.openWindow(path);
    await page.focus().catch(() => {}); // a browser may refuse it; the page is then already in front
    page.postMessage({ open: path });
  }

  async function windows(): Promise<Window[]> {
    const all = await worker.clients.matchAll({ type: "window", includeUncontrolled: true });
    return all.filter(({ url }) => `${new URL(url).pathname}/`.startsWith(`${app}/`));
  }
}

/** A push that cannot be read still shows that something has happened: a browser ends a subscription that shows nothing. */
function read(event: PushEvent): Push {
  try {
    return event.data?.json() as Push ?? {};
  } catch {
    return {};
  }
}
