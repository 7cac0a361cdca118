// What makes an app installable: its service worker, which shows the page without a network.

/** Register the service worker of an app. It does nothing if the page is no secure context, or if the server has no
 * service worker. */
export function registerWorker(app: "/book" | "/tech"): void {
  if (!("serviceWorker" in navigator)) return;
  void navigator.serviceWorker.register(`${app}/sw.js`, { scope: `${app}` }).catch(() => {});
}
