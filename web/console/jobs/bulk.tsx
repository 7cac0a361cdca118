// Cancel several jobs at once, or offer them again. Each job has a result of its own.

import { signal } from "@preact/signals";
import { CalloutError } from "../../shared/api.ts";
import { Button, Field, Note } from "../../shared/ui/parts.tsx";
import { Sheet } from "../../shared/ui/sheet.tsx";
import { toast } from "../../shared/ui/toast.tsx";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";

export const selected = signal<Set<string>>(new Set());
const asked = signal<"cancel" | "reassign" | null>(null);
const refused = signal<{ id: string; text: string }[]>([]);
const busy = signal(false);

export function toggle(id: string): void {
  const next = new Set(selected.value);
  if (!next.delete(id)) next.add(id);
  selected.value = next;
}

export function Bulk({ console }: { console: Console }) {
  const count = selected.value.size;
  if (!count && !asked.value) return null;
  return (
    <div class="bulk" role="region" aria-label={tc("bulk.label")}>
      <strong class="number">{tc("bulk.chosen", { n: count })}</strong>
      <Button onClick={() => (asked.value = "reassign")}>{tc("bulk.reassign")}</Button>
      <Button kind="danger" onClick={() => (asked.value = "cancel")}>{tc("bulk.cancel")}</Button>
      <Button kind="quiet" onClick={() => (selected.value = new Set())}>{tc("bulk.clear")}</Button>
      {asked.value && <Confirm console={console} command={asked.value} />}
    </div>
  );
}

function Confirm({ console, command }: { console: Console; command: "cancel" | "reassign" }) {
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const reason = String(new FormData(event.target as HTMLFormElement).get("reason"));
    busy.value = true;
    refused.value = [];
    for (const id of [...selected.value]) {
      try {
        const { job } = await console.api.call("POST /v1/jobs/{id}/{command}", {
          params: { id, command },
          body: { reason },
        });
        if (job) console.jobs.put(job);
        toggle(id);
      } catch (error) {
        const text = error instanceof CalloutError ? error.problem.title ?? error.code : String(error);
        refused.value = [...refused.value, { id, text }];
      }
    }
    console.jobs.changes.value++;
    busy.value = false;
    if (!refused.value.length) asked.value = null, toast(tc("bulk.done"));
  };
  return (
    <Sheet
      title={tc(`bulk.${command}_title`, { n: selected.value.size })}
      close={() => (asked.value = null, refused.value = [])}
    >
      <form class="stack" onSubmit={submit}>
        <p>{tc(`bulk.${command}_text`)}</p>
        <Field label={tc("action.reason")}>{(a) => <input {...a} name="reason" required maxLength={500} />}</Field>
        {refused.value.length > 0 && (
          <Note kind="warning">
            {tc("bulk.refused", { n: refused.value.length })}
            {refused.value.map(({ id, text }) => (
              <div key={id}>{console.jobs.byId.get(id)?.address ?? id}: {text}</div>
            ))}
          </Note>
        )}
        <Button type="submit" kind={command === "cancel" ? "danger" : "main"} wide busy={busy.value}>
          {tc(`bulk.${command}`)}
        </Button>
      </form>
    </Sheet>
  );
}
