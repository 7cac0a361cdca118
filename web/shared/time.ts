// Times in the time zone of the business, and durations in words.

import { signal } from "@preact/signals";
import { language, t } from "./i18n/i18n.ts";

let offsetMs = 0;

/** Set the clock of the server from a time that it has just sent (RFC 3339). */
export function setServerTime(now: string): void {
  offsetMs = Date.parse(now) - Date.now();
}

/** Return the time of the server in ms since 1970. So what expires on the server expires here at the same moment. */
export function serverNow(): number {
  return Date.now() + offsetMs;
}

/** The time of the server, renewed once a second while the page is visible: for texts such as "12 s ago". */
export const clock = signal(serverNow());
let timer: ReturnType<typeof setInterval> | undefined;
function runClock() {
  clearInterval(timer);
  if (document.hidden) return;
  clock.value = serverNow();
  timer = setInterval(() => (clock.value = serverNow()), 1000);
}
document.addEventListener("visibilitychange", runClock);
runClock();

const timeZone = signal<string | undefined>();

/** Show times in the time zone that all zones of the business have. If they differ, or if none is configured (then each
 * has UTC), times stay in the time zone of the browser.
 */
export function setTimeZoneOf(zones: { timezone: string }[]): void {
  const names = new Set(zones.map((zone) => zone.timezone));
  const [only] = names;
  timeZone.value = names.size === 1 && only !== "UTC" ? only : undefined;
}

/** The form of times in a language: 24 hours, and the day before the month. */
const FORMS = { en: "en-GB", de: "de-DE" };

/** Return `14:05`. */
export function timeOfDay(at: string | number): string {
  return new Intl.DateTimeFormat(FORMS[language.value], {
    hour: "2-digit",
    minute: "2-digit",
    timeZone: timeZone.value,
  }).format(new Date(at));
}

/** Return `Tue 3 Dec, 14:05`. */
export function dayAndTime(at: string | number): string {
  return new Intl.DateTimeFormat(FORMS[language.value], {
    weekday: "short",
    day: "numeric",
    month: "short",
    hour: "2-digit",
    minute: "2-digit",
    timeZone: timeZone.value,
  }).format(new Date(at));
}

/** Return a duration in seconds as one short text: `45 s`, `12 min`, `3 h 20 min`, `2 d 4 h`. */
export function duration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return t("time.seconds", { n: s });
  const min = Math.round(s / 60);
  if (min < 60) return t("time.minutes", { n: min });
  const [h, m] = [Math.floor(min / 60), min % 60];
  if (h < 48) return m ? t("time.hours_minutes", { h, m }) : t("time.hours", { n: h });
  return t("time.days_hours", { d: Math.floor(h / 24), h: h % 24 });
}

/** Return `12 s ago`, by the clock of the server. In a component it is renewed each second. */
export function ago(at: string | number): string {
  const seconds = (clock.value - new Date(at).getTime()) / 1000;
  return seconds < 5 ? t("time.now") : t("time.ago", { duration: duration(seconds) });
}

/** Return a distance in metres as `350 m` or `2.4 km`. */
export function distance(metres: number): string {
  const number = (value: number, digits: number) =>
    new Intl.NumberFormat(language.value, { maximumFractionDigits: digits }).format(value);
  if (metres < 950) return `${number(Math.round(metres / 10) * 10, 0)} m`;
  return `${number(metres / 1000, metres < 20_000 ? 1 : 0)} km`;
}
