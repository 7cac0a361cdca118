// What makes an app installable: its service worker, which shows the page without a network.

/** Register the service worker of an app. A page that is no secure context, or a server without one, has none. */
export function registerWorker(app: "/book" | "/tech"): void {
  if (!("serviceWorker" in navigator)) return;
  void navigator.serviceWorker.register(`${app}/sw.js`, { scope: `${app}` }).catch(() => {});
}
