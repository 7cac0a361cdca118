// The faults of a demo: the visitor kills a gateway, cuts connections or pauses Redis, and watches the counters that must stay 0.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { type CalloutError, callPublic } from "../../shared/api.ts";
import { clock } from "../../shared/time.ts";
import { Button, Card, Chip, ErrorNote } from "../../shared/ui/parts.tsx";
import { toast } from "../../shared/ui/toast.tsx";
import { tc } from "../i18n/texts.ts";
import { errorOf } from "../load.ts";

interface Counters {
  claims: number;
  two_holders: number;
  lost: number;
  doubled: number;
  overlapping?: number;
}

const FAULTS = ["kill_gateway", "pause_redis", "cut_phones"] as const;
const NOUGHT = ["two_holders", "lost", "doubled"] as const;
const EVERY_S = 2;
const counters = signal<Counters | null>(null);
const error = signal<CalloutError | null>(null);
const busy = signal("");

async function read(): Promise<void> {
  try {
    counters.value = await callPublic("GET", "/demo/counters") as Counters;
    error.value = null;
  } catch (refusal) {
    error.value = errorOf(refusal);
  }
}

async function cause(fault: (typeof FAULTS)[number]): Promise<void> {
  busy.value = fault;
  try {
    await callPublic("POST", `/demo/faults/${fault}`, {});
    toast(tc(`fault.${fault}_done`));
    error.value = null;
  } catch (refusal) {
    error.value = errorOf(refusal);
  }
  busy.value = "";
}

/** Read the counters while a part that shows them is visible. */
export function useCounters(): Counters | null {
  const tick = Math.floor(clock.value / 1000 / EVERY_S);
  useEffect(() => void (document.hidden || read()), [tick]);
  return counters.value;
}

export function Faults() {
  const found = useCounters();
  return (
    <Card title={tc("fault.title")}>
      <div class="stack">
        <p class="soft">{tc("fault.text")}</p>
        <div class="row">
          {FAULTS.map((fault) => (
            <Button
              key={fault}
              kind="danger"
              busy={busy.value === fault}
              onClick={() => void cause(fault)}
            >
              {tc(`fault.${fault}`)}
            </Button>
          ))}
        </div>
        <ErrorNote error={error.value} />
        {found && (
          <p class="row number" role="status">
            <Chip>{tc("fault.claims", { n: found.claims })}</Chip>
            {NOUGHT.map((name) => (
              <Chip key={name} state={found[name] ? "danger" : "done"}>{tc(`fault.${name}`)} {found[name]}</Chip>
            ))}
          </p>
        )}
      </div>
    </Card>
  );
}

/** One line in the bar of a demo: whether a job had two holders or an event was lost or doubled, by what the clients received. */
export function CounterLine() {
  const found = useCounters();
  if (!found) return null;
  const broken = found.two_holders + found.doubled + found.lost;
  return (
    <span class="promise small" data-broken={broken ? true : undefined}>
      {tc(broken ? "fault.broken" : "fault.promise", { n: found.claims })}
    </span>
  );
}
