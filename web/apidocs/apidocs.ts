// The pages of the interface: Redoc renders the OpenAPI document, or the AsyncAPI document at /docs/events.

import { assetUrl } from "../shared/assets.ts";
import "../shared/theme.css";
import "./apidocs.css";

/** Redoc shows a document in an element. */
type Init = (source: string, options: Record<string, unknown>, element: Element) => unknown;

const events = location.pathname.startsWith("/docs/events");
const app = document.getElementById("app")!;
const bar = document.createElement("nav");
bar.className = "api-bar";
for (
  const [path, text] of [["/", "Callout"], ["/docs", "HTTP"], ["/docs/events", "Events"], ["/docs/pages", "Guides"]]
) {
  const link = document.createElement("a");
  link.href = path;
  link.textContent = text;
  if (location.pathname === path) link.setAttribute("aria-current", "page");
  bar.append(link);
}
const box = document.createElement("main");
app.replaceWith(bar, box);

const { init } = await import(assetUrl("redoc")) as { init: Init };
init(events ? "/asyncapi.json" : "/openapi.json", { disableTelemetry: true, hideLoading: true }, box);
