// The service worker of an app: it shows the page without a network. It stores the page and the files of the build, whose
// names have a hash of their content. It stores no answer of the interface: what the app shows of jobs comes from the
// server, or is what the app itself holds.

/** The types that only a service worker has. All files are checked with the types of a page. */
interface Waitable extends Event {
  waitUntil(work: Promise<unknown>): void;
}
interface Fetching extends Event {
  request: Request;
  respondWith(answer: Promise<Response>): void;
}
interface Worker {
  location: Location;
  clients: { claim(): Promise<void> };
  skipWaiting(): Promise<void>;
  addEventListener(name: "install" | "activate", listener: (event: Waitable) => void): void;
  addEventListener(name: "fetch", listener: (event: Fetching) => void): void;
}

/** How many files of the build are stored; a build has fewer. */
const MAX_FILES = 60;

/** Let the worker serve the page at `app` (such as `/book`) and the files of the build. */
export function serveOffline(app: string): void {
  const worker = self as unknown as Worker;
  const name = `callout${app}`;

  worker.addEventListener("install", (event) => {
    event.waitUntil(storePage().then(() => worker.skipWaiting()));
  });
  worker.addEventListener("activate", (event) => {
    event.waitUntil(worker.clients.claim());
  });
  worker.addEventListener("fetch", (event) => {
    const { request } = event;
    const url = new URL(request.url);
    if (request.method !== "GET" || url.origin !== worker.location.origin) return;
    if (request.mode === "navigate") event.respondWith(page(request));
    else if (url.pathname.startsWith("/assets/")) event.respondWith(asset(request));
  });

  /** The page from the network, and the stored one without it. */
  async function page(request: Request): Promise<Response> {
    try {
      const answer = await fetch(request);
      if (answer.ok) await storePage(answer.clone());
      return answer;
    } catch {
      return await caches.match(app) ?? Response.error();
    }
  }

  /** Store the page and all files that it names. The oldest files go when there are very many. */
  async function storePage(answer?: Response): Promise<void> {
    const page = answer ?? await fetch(app);
    const text = await page.clone().text();
    const cache = await caches.open(name);
    await cache.put(app, page);
    const files = [...new Set(text.match(/\/assets\/[\w.-]+/g) ?? [])];
    for (const file of files) if (!await cache.match(file)) await cache.add(file).catch(() => {});
    const stored = (await cache.keys()).filter(({ url }) => new URL(url).pathname.startsWith("/assets/"));
    for (const old of stored.slice(0, -MAX_FILES)) await cache.delete(old);
  }

  async function asset(request: Request): Promise<Response> {
    const stored = await caches.match(request);
    if (stored) return stored;
    const answer = await fetch(request);
    if (answer.ok) await (await caches.open(name)).put(request, answer.clone());
    return answer;
  }
}
