// A card with a button that verifies the audit tree.

import { signal } from "@preact/signals";
import type { CalloutError } from "../../shared/api.ts";
import { dayAndTime } from "../../shared/time.ts";
import { Button, Card, Chip, type ChipState, ErrorNote } from "../../shared/ui/parts.tsx";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";
import { errorOf } from "../load.ts";
import { type Check, type Verdict, verifyAudit } from "./verify.ts";

const verdict = signal<Verdict | null>(null);
const error = signal<CalloutError | null>(null);
const busy = signal(false);
const STATES: Record<Check["result"], ChipState> = { ok: "done", failed: "danger", first: "open", none: "open" };

export function Verify({ console }: { console: Console }) {
  const run = async () => {
    busy.value = true;
    error.value = null;
    try {
      verdict.value = await verifyAudit(console);
    } catch (refusal) {
      error.value = errorOf(refusal);
    }
    busy.value = false;
  };
  const found = verdict.value;
  return (
    <Card
      title={tc("verify.title")}
      action={<Button kind="main" icon="check" busy={busy.value} onClick={run}>{tc("verify.run")}</Button>}
    >
      <div class="stack" aria-live="polite">
        {!found && !error.value && <p class="soft">{tc("verify.text")}</p>}
        {error.value?.code === "not_found"
          ? <p>{tc("verify.no_head")}</p>
          : <ErrorNote error={error.value} retry={run} />}
        {found && (
          <>
            <ul class="checks">
              {found.checks.map((check) => (
                <li key={check.name}>
                  <Chip state={STATES[check.result]}>{tc(`verify.${check.result}`)}</Chip>
                  {tc(`verify.${check.name}_${check.result}` as "verify.signature_ok", {
                    detail: check.detail,
                    n: Number(check.detail) || 0,
                  })}
                </li>
              ))}
            </ul>
            <p class="small soft">{tc("verify.head", { size: found.head.size, at: dayAndTime(found.head.at) })}</p>
            <p class="small soft">
              <code>{found.head.root}</code>
            </p>
          </>
        )}
      </div>
    </Card>
  );
}
