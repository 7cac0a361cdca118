// Resolve a dispute: the job goes on, is cancelled, or counts as completed. The form offers only outcomes that the
// job's blueprint declares.

import { signal } from "@preact/signals";
import type { CalloutError } from "../../shared/api.ts";
import { Button, ErrorNote, Field } from "../../shared/ui/parts.tsx";
import { toast } from "../../shared/ui/toast.tsx";
import type { Dispute } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";
import { errorOf } from "../load.ts";

const OUTCOMES = ["resume", "complete", "cancel"] as const;
type Outcome = (typeof OUTCOMES)[number];
const error = signal<CalloutError | null>(null);
const busy = signal(false);

export function ResolveForm(
  { console, dispute, done }: { console: Console; dispute: Dispute; done: () => Promise<void> },
) {
  const job = console.jobs.changes.value >= 0 ? console.jobs.byId.get(dispute.job) : undefined;
  const commands = job ? console.blueprints.byName.value[job.blueprint]?.commands ?? [] : [];
  const offered = OUTCOMES.filter((outcome) =>
    !commands.length || commands.some(({ resolves }) => resolves === outcome)
  );
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.target as HTMLFormElement);
    busy.value = true;
    error.value = null;
    try {
      const body = { outcome: form.get("outcome") as Outcome, note: String(form.get("note")) || undefined };
      const reply = await console.api.call("POST /v1/disputes/{id}/resolve", { params: { id: dispute.id }, body });
      console.jobs.put(reply.job);
      console.jobs.changes.value++;
      toast(tc("desk.resolved"));
      await done();
    } catch (refusal) {
      error.value = errorOf(refusal);
    }
    busy.value = false;
  };
  return (
    <form class="stack" onSubmit={submit}>
      <fieldset class="choice">
        <legend>{tc("desk.outcome")}</legend>
        {offered.map((outcome, i) => (
          <label key={outcome} class="row">
            <input type="radio" name="outcome" value={outcome} required defaultChecked={i === 0} />{" "}
            {tc(`desk.${outcome}`)}
          </label>
        ))}
      </fieldset>
      <Field label={tc("desk.note")} hint={tc("desk.note_hint")}>
        {(a) => <textarea {...a} name="note" rows={2} maxLength={500} />}
      </Field>
      <ErrorNote error={error.value} />
      <Button type="submit" kind="main" busy={busy.value}>{tc("desk.resolve")}</Button>
    </form>
  );
}
