// Runs before the page is shown, so that it never flashes in the other theme.

try {
  const theme = localStorage.getItem("callout.theme");
  if (theme === "light" || theme === "dark") document.documentElement.dataset.theme = theme;
  document.documentElement.lang = localStorage.getItem("callout.language") ??
    (navigator.language.startsWith("de") ? "de" : "en");
} catch {
  // In a browser that stores nothing, the theme of the system is used.
}
