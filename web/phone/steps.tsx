// The steps of a job as buttons. The server lists them (`actions[]`). Their order and size follow from the blueprint.

import { useState } from "preact/hooks";
import { CalloutError } from "../shared/api.ts";
import { t } from "../shared/i18n/i18n.ts";
import type { Job } from "../shared/schema.ts";
import { Button, ErrorNote, Field, Note } from "../shared/ui/parts.tsx";
import { Sheet } from "../shared/ui/sheet.tsx";
import type { PhoneApp } from "./app.ts";
import { commandLabel, commandOf, disputeOf, isGrave, nextStep, otherSteps } from "./blueprints.ts";

/** Run `work`, and store what the page shows meanwhile: whether it runs, and its error. */
export function useWork() {
  const [busy, setBusy] = useState(false);
  const [error, setError] = useState<CalloutError | null>(null);
  const run = async (work: () => Promise<unknown>): Promise<boolean> => {
    setBusy(true);
    setError(null);
    try {
      await work();
      return true;
    } catch (refusal) {
      setError(
        refusal instanceof CalloutError ? refusal : new CalloutError({ code: "internal", title: String(refusal) }),
      );
      return false;
    } finally {
      setBusy(false);
    }
  };
  return { busy, error, run, clear: () => setError(null) };
}

/** The next step, across the whole width. A step that needs a code has a field for it. */
export function NextStep({ app, job }: { app: PhoneApp; job: Job }) {
  const { busy, error, run } = useWork();
  const [code, setCode] = useState("");
  const name = nextStep(job);
  if (!name) return <ErrorNote error={error} />;
  const purpose = commandOf(job, name)?.code;
  const send = async (event: Event) => {
    event.preventDefault();
    if (await run(() => app.step(job.id, name, purpose ? { code: code.trim() } : {}))) setCode("");
  };
  return (
    <form class="stack" onSubmit={send}>
      {purpose && (
        <Field label={t("step.code")} hint={t("step.code_hint")} wrong={wrongCode(error)}>
          {(a) => (
            <input
              {...a}
              class="code-input"
              inputMode="numeric"
              autocomplete="one-time-code"
              maxLength={12}
              required
              value={code}
              onInput={(event) => setCode(event.currentTarget.value)}
            />
          )}
        </Field>
      )}
      <Button type="submit" kind="main" big wide busy={busy}>{commandLabel(name)}</Button>
      {app.outbox.waitsFor(job.id) && <p class="small soft waits" role="status">{t("step.waits")}</p>}
      {!wrongCode(error) && <StepError error={error} />}
    </form>
  );
}

function wrongCode(error: CalloutError | null): string | undefined {
  if (error?.code === "code_locked") return t("step.code_locked");
  return error?.code === "wrong_code" ? t("step.code_wrong", { n: error.problem.attempts_left ?? 0 }) : undefined;
}

function StepError({ error }: { error: CalloutError | null }) {
  if (error?.code === "files_missing") {
    const n = Object.values((error.problem.missing ?? {}) as Record<string, number>).reduce(
      (sum, each) => sum + each,
      0,
    );
    return <Note kind="warning">{t("step.files_missing", { n })}</Note>;
  }
  return <ErrorNote error={error} />;
}

/** The other steps, as small buttons. Steps that end something need a confirmation. */
export function OtherSteps({ app, job }: { app: PhoneApp; job: Job }) {
  const [asked, setAsked] = useState<string | null>(null);
  const { busy, error, run } = useWork();
  const dispute = disputeOf(job);
  const names = otherSteps(job).filter((name) => name !== dispute);
  if (!names.length && !dispute) return null;
  return (
    <div class="stack">
      <div class="row">
        {names.map((name) => (
          <Button
            key={name}
            kind="plain"
            busy={busy}
            onClick={() => isGrave(job, name) ? setAsked(name) : void run(() => app.step(job.id, name))}
          >
            {commandLabel(name)}
          </Button>
        ))}
        {dispute && <Button icon="people" onClick={() => setAsked(dispute)}>{t("job.call_mediator")}</Button>}
      </div>
      <ErrorNote error={error} />
      {asked && <AskFirst app={app} job={job} name={asked} close={() => setAsked(null)} />}
    </div>
  );
}

/** Asks for a reason before a step that ends the job, gives it back, or calls a mediator. */
function AskFirst({ app, job, name, close }: { app: PhoneApp; job: Job; name: string; close: () => void }) {
  const { busy, error, run } = useWork();
  const isDispute = disputeOf(job) === name;
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const reason = String(new FormData(event.target as HTMLFormElement).get("reason") ?? "").trim();
    const about = { what: name, job: job.id };
    const work = isDispute
      ? () => app.outbox.send("POST", `/v1/jobs/${job.id}/disputes`, { reason }, about)
      : () => app.step(job.id, name, reason ? { reason } : {});
    if (await run(work)) close();
  };
  return (
    <Sheet title={isDispute ? t("job.call_mediator") : commandLabel(name)} close={close}>
      <form class="stack" onSubmit={send}>
        {isDispute && <p class="soft">{t("job.mediator_text")}</p>}
        <Field label={t(isDispute ? "step.dispute_reason" : "step.reason")}>
          {(a) => <textarea {...a} name="reason" rows={3} maxLength={500} required={isDispute} />}
        </Field>
        <ErrorNote error={error} />
        <Button type="submit" kind={isDispute ? "main" : "danger"} big wide busy={busy}>
          {isDispute ? t("job.call_mediator") : commandLabel(name)}
        </Button>
        <Button wide onClick={close}>{t("action.back")}</Button>
      </form>
    </Sheet>
  );
}
