// The theme: light, dark, or that of the system. `boot.ts` applies the stored one before the page is shown.

import { computed, signal } from "@preact/signals";
import { readStored, store } from "./platform.ts";

export type Theme = "system" | "light" | "dark";

const systemIsDark = matchMedia("(prefers-color-scheme: dark)");
const systemDark = signal(systemIsDark.matches);
systemIsDark.addEventListener("change", () => (systemDark.value = systemIsDark.matches));

const stored = readStored("theme");
/** What the user chose. */
export const theme = signal<Theme>(stored === "light" || stored === "dark" ? stored : "system");
/** Whether the page is dark now. Maps and charts, which are no CSS, depend on it. */
export const isDark = computed(() => theme.value === "dark" || (theme.value === "system" && systemDark.value));

/** Choose a theme and store it. */
export function setTheme(wanted: Theme): void {
  theme.value = wanted;
  store("theme", wanted === "system" ? null : wanted);
  if (wanted === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = wanted;
}

/** Return the present colour of a CSS variable such as `--brand`, as `rgb(…)`: for the map and charts. */
export function colorOf(variable: string): string {
  const probe = document.createElement("span");
  probe.style.color = `var(${variable})`;
  document.body.append(probe);
  const color = getComputedStyle(probe).color;
  probe.remove();
  return color;
}
