// The texts of the console, in files of their own: the phone pages do not load them.

import { language } from "../../shared/i18n/i18n.ts";
import { de } from "./de.ts";
import { en } from "./en.ts";

export type Key = keyof typeof en;

const LANGUAGES: Record<string, Record<Key, string>> = { en, de };

/** Return the text `key` of the console, with each `{name}` replaced by the value of that name. A text `one|other` has a
 * form for `n` = 1 and one for all others. */
export function tc(key: Key, values: Record<string, string | number> = {}): string {
  const forms = LANGUAGES[language.value][key].split("|");
  const form = forms.length === 2 && values.n !== 1 ? forms[1] : forms[0];
  return form.replace(/{(\w+)}/g, (whole, name) => name in values ? String(values[name]) : whole);
}

/** Return the text of a word that the server may send, such as a reason; the word itself if there is none. */
export function word(prefix: string, code: string): string {
  const key = `${prefix}.${code}`;
  return key in en ? tc(key as Key) : code.replaceAll("_", " ").replaceAll(".", " ");
}
