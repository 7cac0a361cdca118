// Short messages at the bottom of the page. A screen reader reads them without interrupting, and they disappear after some seconds.

import { signal } from "@preact/signals";

interface Toast {
  id: number;
  text: string;
  action?: { label: string; run: () => void };
}

const toasts = signal<Toast[]>([]);
let lastId = 0;

/** Show `text`, perhaps with a button such as *Undo*. */
export function toast(text: string, action?: Toast["action"]): void {
  const one = { id: ++lastId, text, action };
  toasts.value = [...toasts.value.slice(-2), one];
  setTimeout(() => remove(one.id), action ? 10_000 : 5_000);
}

function remove(id: number) {
  toasts.value = toasts.value.filter((each) => each.id !== id);
}

export function Toasts() {
  return (
    <div class="toasts" aria-live="polite">
      {toasts.value.map(({ id, text, action }) => (
        <div class="toast" key={id}>
          <span>{text}</span>
          {action && (
            <button
              type="button"
              onClick={() => {
                remove(id);
                action.run();
              }}
            >
              {action.label}
            </button>
          )}
        </div>
      ))}
    </div>
  );
}
