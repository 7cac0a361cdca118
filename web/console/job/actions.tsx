// What may be done with a job now: the buttons are exactly the job's `actions`, as the server lists them.

import { signal } from "@preact/signals";
import type { CalloutError } from "../../shared/api.ts";
import { Button, Card, ErrorNote, Field, Note } from "../../shared/ui/parts.tsx";
import { Sheet } from "../../shared/ui/sheet.tsx";
import { toast } from "../../shared/ui/toast.tsx";
import type { Job } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { isLive } from "../data/jobs.ts";
import { tc, word } from "../i18n/texts.ts";
import { errorOf } from "../load.ts";
import { PersonChoice } from "../people/choice.tsx";

const WITH_PERSON = ["assign", "reassign"];
const GRAVE = ["cancel", "unassign", "suspend"];
/** Commands whose buttons are in other parts of the page: those that end a dispute. */
const ELSEWHERE = /^(resolve|thaw)/;

/** The job and the command whose form is open. It stays open if the job changes. If the command is then not allowed, the server refuses it. */
const opened = signal<{ job: string; command: string } | null>(null);
const error = signal<CalloutError | null>(null);
const busy = signal(false);

/** Give a command. Return whether it was done; `error` says why not. */
export async function giveCommand(
  console: Console,
  job: Job,
  command: string,
  body: Record<string, unknown>,
): Promise<boolean> {
  busy.value = true;
  error.value = null;
  try {
    const reply = await console.api.call("POST /v1/jobs/{id}/{command}", { params: { id: job.id, command }, body });
    if (reply.job) console.jobs.put(reply.job), console.jobs.changes.value++;
    toast(reply.message ?? word("command", command));
    return true;
  } catch (refusal) {
    error.value = errorOf(refusal);
    return false;
  } finally {
    busy.value = false;
  }
}

export function Actions({ console, job, changed }: { console: Console; job: Job; changed: () => void }) {
  const names = (job.actions ?? []).filter((name) => !ELSEWHERE.test(name));
  const onward = console.blueprints.waitsForOps(job)?.name;
  return (
    <Card title={tc("job.actions")}>
      {!names.length && (
        <p class="soft">
          {tc(job.frozen ? "job.no_actions_frozen" : isLive(job) ? "job.no_actions" : "job.no_actions_over")}
        </p>
      )}
      <div class="row">
        {names.map((name) => (
          <Button
            key={name}
            kind={name === onward ? "main" : "plain"}
            onClick={() => (opened.value = { job: job.id, command: name }, error.value = null)}
          >
            {word("command", name)}
          </Button>
        ))}
      </div>
      {opened.value?.job === job.id && (
        <ActionSheet console={console} job={job} command={opened.value.command} changed={changed} />
      )}
    </Card>
  );
}

function ActionSheet(
  { console, job, command, changed }: { console: Console; job: Job; command: string; changed: () => void },
) {
  const spec = console.blueprints.command(job, command);
  const close = () => (opened.value = null);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const { reason, code, technician, force } = Object.fromEntries(
      new FormData(event.target as HTMLFormElement),
    ) as Record<string, string>;
    const body = {
      reason: reason || undefined,
      code: code || undefined,
      technician: technician || undefined,
      force: force === "on" || undefined,
    };
    if (await giveCommand(console, job, command, { ...body, version: job.version })) close(), changed();
  };
  const isGrave = GRAVE.includes(command);
  return (
    <Sheet title={word("command", command)} close={close}>
      <form class="stack" onSubmit={submit}>
        {command === "cancel" && job.technician && (
          <Note kind="warning">{tc("action.cancel_text", { name: console.people.name(job.technician.id) })}</Note>
        )}
        {WITH_PERSON.includes(command) && (
          <PersonChoice
            console={console}
            job={job}
            optional={command === "reassign"}
          />
        )}
        {spec?.code && (
          <Field label={tc("action.code")}>{(a) => <input {...a} name="code" inputMode="numeric" required />}</Field>
        )}
        <Field label={tc("action.reason")}>
          {(a) => <input {...a} name="reason" maxLength={500} required={isGrave || command === "reassign"} />}
        </Field>
        <ErrorNote error={error.value} />
        <Button type="submit" kind={isGrave ? "danger" : "main"} wide busy={busy.value}>
          {word("command", command)}
        </Button>
      </form>
    </Sheet>
  );
}
