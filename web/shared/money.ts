// Amounts of money are integers in minor units of a currency.

import { language } from "./i18n/i18n.ts";

const formats = new Map<string, Intl.NumberFormat>();

function formatOf(currency: string): Intl.NumberFormat {
  const name = `${language.value} ${currency}`;
  let format = formats.get(name);
  if (!format) formats.set(name, format = new Intl.NumberFormat(language.value, { style: "currency", currency }));
  return format;
}

/** Return an amount in minor units as text: `€90.00`. */
export function money(amount: number, currency: string): string {
  const format = formatOf(currency);
  return format.format(amount / 10 ** (format.resolvedOptions().maximumFractionDigits ?? 2));
}

/** Return the minor units of an amount that a person typed, such as `12.50` or `12,50`; null if it is none. */
export function minorUnits(typed: string, currency: string): number | null {
  const text = typed.trim().replace(",", ".");
  if (!/^\d{1,9}(\.\d+)?$/.test(text)) return null;
  return Math.round(Number(text) * 10 ** (formatOf(currency).resolvedOptions().maximumFractionDigits ?? 2));
}
