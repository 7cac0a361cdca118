import { t } from "../shared/i18n/i18n.ts";
import { Mark } from "../shared/ui/icons.tsx";
import "../shared/ui/ui.css";

export function App() {
  return (
    <main id="content" class="empty">
      <Mark size={44} />
      <h1>{t("app.name")}</h1>
    </main>
  );
}
