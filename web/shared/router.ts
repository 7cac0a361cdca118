// The path of the page as a signal. A link of the app changes it without loading the page again.

import { signal } from "@preact/signals";

/** The present path and query, such as `/console/jobs?status=open`. */
export const place = signal(location.pathname + location.search);

addEventListener("popstate", () => (place.value = location.pathname + location.search));

/** Show another page of this app. `replace`: the browser's *back* skips the present one. */
export function go(path: string, { replace = false } = {}): void {
  if (path === place.value) return;
  const isOther = path.split("?")[0] !== location.pathname;
  history[replace ? "replaceState" : "pushState"](null, "", path);
  place.value = location.pathname + location.search;
  if (isOther) scrollTo(0, 0);
}

/** Let links below `base` (such as `/console`) be followed inside the page. Call this once, at the start of an app. */
export function followLinks(base: string): void {
  document.addEventListener("click", (event) => {
    if (event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) {
      return;
    }
    const link = (event.target as Element | null)?.closest?.("a[href]") as HTMLAnchorElement | null;
    if (!link || link.target || link.hasAttribute("download") || link.origin !== location.origin) return;
    if (link.pathname !== base && !link.pathname.startsWith(`${base}/`)) return;
    event.preventDefault();
    go(link.pathname + link.search);
  });
}

/** Return the parts of the present path below `base`: `["jobs", "job_1"]` of `/console/jobs/job_1`. */
export function partsBelow(base: string): string[] {
  return place.value.split("?")[0].slice(base.length).split("/").filter(Boolean).map(decoded);
}

/** Decode a part of a path. One with a wrong escape (`%ff`) stays as it is: it names nothing, and the page says so. */
function decoded(part: string): string {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** Return the query of the present path. */
export function queryNow(): URLSearchParams {
  return new URLSearchParams(place.value.split("?")[1] ?? "");
}
