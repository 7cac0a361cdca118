// Keys that work anywhere on the page, unless somebody is typing.

import { useEffect, useRef } from "preact/hooks";

export type KeyTable = Record<string, () => void>;

const SEQUENCE_MS = 1000;
let first = { key: "", at: 0 };

function isTyping(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && !!target.closest("input, textarea, select, [contenteditable]");
}

function nameOf(event: KeyboardEvent): string {
  return event.ctrlKey || event.metaKey ? `mod+${event.key.toLowerCase()}` : event.key;
}

/** Call the function of a key: `j`, `mod+k`, or `g 1` (one after the other) while this component is shown. A dialog that
 * is open gets all keys itself. */
export function useKeys(table: KeyTable): void {
  const present = useRef(table);
  present.current = table;
  useEffect(() => {
    const onKey = (event: KeyboardEvent) => {
      if (event.defaultPrevented || event.altKey || document.querySelector("dialog[open]")) return;
      const name = nameOf(event);
      if (!name.startsWith("mod+") && isTyping(event.target)) return;
      const both = performance.now() - first.at < SEQUENCE_MS ? `${first.key} ${name}` : "";
      const run = present.current[both] ?? present.current[name];
      if (name === "g") first = { key: name, at: performance.now() };
      if (!run) return;
      event.preventDefault();
      run();
    };
    document.addEventListener("keydown", onKey);
    return () => document.removeEventListener("keydown", onKey);
  }, []);
}

/** J and K move through a list of `count` items, and Enter opens the chosen item. `at` is the index of that item. */
export function useListKeys(count: number, at: number, move: (to: number) => void, open?: () => void): void {
  useKeys({
    j: () => move(Math.min(count - 1, at + 1)),
    k: () => move(Math.max(0, at - 1)),
    ...(open && at >= 0 ? { Enter: open } : {}),
  });
}
