// The console: the live pages of one zone.

import { useMemo } from "preact/hooks";
import type { Live } from "../shared/live.ts";
import { readStored } from "../shared/platform.ts";
import { ConsoleFrame } from "./app.tsx";
import { Console } from "./data/console.ts";
import "./console.css";

export function App({ live }: { live: Live }) {
  const console = useMemo(() => new Console(live, readStored("zone") ?? "main"), []);
  return <ConsoleFrame console={console} />;
}
