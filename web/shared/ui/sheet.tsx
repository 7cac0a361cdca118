// A dialog: in the middle of a large screen, at the bottom of a phone. The browser holds the focus inside and closes it
// by Esc, and the focus returns to where it was.

import type { ComponentChildren } from "preact";
import { useEffect, useId, useRef } from "preact/hooks";
import { t } from "../i18n/i18n.ts";
import { IconButton } from "./parts.tsx";

export function Sheet(
  { title, close, children }: { title: string; close: () => void; children: ComponentChildren },
) {
  const dialog = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    dialog.current?.showModal();
    return () => before?.focus?.();
  }, []);
  return (
    <dialog
      ref={dialog}
      class="sheet"
      aria-labelledby={id}
      onClose={close}
      onClick={(event) => event.target === dialog.current && dialog.current?.close()}
    >
      <header>
        <h2 id={id}>{title}</h2>
        <IconButton icon="close" label={t("action.close")} onClick={() => dialog.current?.close()} />
      </header>
      {children}
    </dialog>
  );
}
