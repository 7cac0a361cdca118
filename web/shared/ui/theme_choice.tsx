// Choices of the browser's user: the theme and the language.

import { type Language, language, LANGUAGE_NAMES, setLanguage, t } from "../i18n/i18n.ts";
import { isDark, setTheme } from "../theme.ts";
import { IconButton } from "./parts.tsx";

/** A button that changes between light and dark. */
export function ThemeButton() {
  const dark = isDark.value;
  return (
    <IconButton
      icon={dark ? "sun" : "moon"}
      label={`${t("theme.label")}: ${dark ? t("theme.light") : t("theme.dark")}`}
      onClick={() => setTheme(dark ? "light" : "dark")}
    />
  );
}

/** A button that changes the language. */
export function LanguageButton() {
  const next: Language = language.value === "en" ? "de" : "en";
  return (
    <button type="button" class="button" data-kind="quiet" lang={next} onClick={() => setLanguage(next)}>
      {LANGUAGE_NAMES[next]}
    </button>
  );
}
