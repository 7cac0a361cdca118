// In a demo: the customer's or the technician's app in the frame of a phone, beside the map. What its user does there
// appears on the map at once.

import { signal } from "@preact/signals";
import { meta } from "../../shared/meta.ts";
import { Button, IconButton } from "../../shared/ui/parts.tsx";
import { tc } from "../i18n/texts.ts";

type App = "book" | "tech";

/** The app that the frame shows; "" while there is no frame. */
export const phone = signal<App | "">("");

/** The buttons that open the frame; nothing on a server that is no demo. */
export function PhoneButtons() {
  if (!meta.value?.demo) return null;
  return (
    <div class="phone-buttons">
      {(["book", "tech"] as const).map((app) => (
        <Button
          key={app}
          aria-pressed={phone.value === app}
          onClick={() => (phone.value = phone.value === app ? "" : app)}
        >
          {tc(`phone.be_${app}`)}
        </Button>
      ))}
    </div>
  );
}

export function PhoneFrame({ app }: { app: App }) {
  return (
    <section class="phone-frame" aria-label={tc(`phone.of_${app}`)}>
      <header class="row">
        <h2 class="grow">{tc(`phone.of_${app}`)}</h2>
        <IconButton icon="close" label={tc("phone.close")} onClick={() => (phone.value = "")} />
      </header>
      <iframe key={app} src={`/${app}`} title={tc(`phone.of_${app}`)} allow="geolocation" />
    </section>
  );
}
