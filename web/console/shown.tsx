// A part of a page that shows loaded data: a spinner first, then the data. An error stands above data that is still shown.

import type { ComponentChildren } from "preact";
import { ErrorNote, Spinner } from "../shared/ui/parts.tsx";
import { tc } from "./i18n/texts.ts";
import type { Loaded } from "./load.ts";

export function Shown<T>({ loaded, children }: { loaded: Loaded<T>; children: (data: T) => ComponentChildren }) {
  const [data, error] = [loaded.data.value, loaded.error.value];
  if (data === null && !error) return <Spinner label={tc("frame.loading")} />;
  return (
    <>
      <ErrorNote error={error} retry={() => void loaded.again()} />
      {data !== null && <div data-stale={error ? true : undefined}>{children(data)}</div>}
    </>
  );
}
