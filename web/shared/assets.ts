// Addresses of files that a script loads by itself. The document of the page has them (server/web/shells.py).

/** Return the address of a named file of the build: `map-worker` or `redoc`. */
export function assetUrl(name: "map-worker" | "redoc"): string {
  return document.querySelector<HTMLMetaElement>(`meta[name="asset:${name}"]`)!.content;
}
