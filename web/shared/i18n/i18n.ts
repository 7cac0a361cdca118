// The texts of the pages. Each language is one file: `en.ts` has every key, the others have the same keys.

import { signal } from "@preact/signals";
import { readStored, store } from "../platform.ts";
import { en } from "./en.ts";
import { de } from "./de.ts";

export type Key = keyof typeof en;
export type Texts = Record<Key, string>;
export type Language = "en" | "de";

const LANGUAGES: Record<Language, Texts> = { en, de };
export const LANGUAGE_NAMES: Record<Language, string> = { en: "English", de: "Deutsch" };

const chosen = readStored("language") ?? navigator.language.slice(0, 2);
/** The present language. Components that call `t` are rendered again when it changes. */
export const language = signal<Language>(chosen in LANGUAGES ? chosen as Language : "en");
document.documentElement.lang = language.value;

/** Choose a language and store it. */
export function setLanguage(wanted: Language): void {
  language.value = wanted;
  document.documentElement.lang = wanted;
  store("language", wanted);
}

/** Return the text `key`, with each `{name}` replaced by the value of that name. A text `one|other` has a form for
 * `n` = 1 and one for all others. */
export function t(key: Key, values: Record<string, string | number> = {}): string {
  const text = LANGUAGES[language.value][key];
  const forms = text.split("|");
  const form = forms.length === 2 && values.n !== 1 ? forms[1] : forms[0];
  return form.replace(/{(\w+)}/g, (whole, name) => name in values ? String(values[name]) : whole);
}

/** Return the text of a code that the server may send, such as a role; the code itself if there is none. */
export function known(prefix: string, code: string): string {
  const key = `${prefix}.${code}`;
  return key in en ? t(key as Key) : code.replaceAll("_", " ");
}
