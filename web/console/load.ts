// Data that one part of a page reads by itself: loading, the data, or the error with a way to try again.

import { type Signal, signal } from "@preact/signals";
import { useEffect, useMemo, useRef } from "preact/hooks";
import { CalloutError } from "../shared/api.ts";

export interface Loaded<T> {
  data: Signal<T | null>;
  error: Signal<CalloutError | null>;
  /** Read again. What was known stays until the answer comes. */
  again: () => Promise<void>;
}

/** Read data when the component is shown, and again when one of `inputs` changes. */
export function useLoaded<T>(read: () => Promise<T>, inputs: readonly unknown[]): Loaded<T> {
  const present = useRef(read);
  present.current = read;
  const loaded = useMemo<Loaded<T>>(() => {
    const [data, error] = [signal<T | null>(null), signal<CalloutError | null>(null)];
    let turn = 0;
    const again = async () => {
      const mine = ++turn;
      try {
        const found = await present.current();
        if (mine === turn) [data.value, error.value] = [found, null];
      } catch (refusal) {
        if (mine === turn) error.value = errorOf(refusal);
      }
    };
    return { data, error, again };
  }, []);
  useEffect(() => void loaded.again(), inputs);
  return loaded;
}

export function errorOf(refusal: unknown): CalloutError {
  return refusal instanceof CalloutError ? refusal : new CalloutError({ code: "internal", title: String(refusal) });
}
