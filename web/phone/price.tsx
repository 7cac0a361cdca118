// Another price: propose one, and answer one that the other side has proposed.

import { useState } from "preact/hooks";
import { t } from "../shared/i18n/i18n.ts";
import { minorUnits, money } from "../shared/money.ts";
import type { Job } from "../shared/schema.ts";
import { Button, Card, ErrorNote, Field } from "../shared/ui/parts.tsx";
import { Sheet } from "../shared/ui/sheet.tsx";
import type { PhoneApp } from "./app.ts";
import { blueprints } from "./blueprints.ts";
import { useWork } from "./steps.tsx";

/** The amount of a job as text, with `/h` if it is a rate. */
export function priceOf(job: Pick<Job, "amount" | "currency" | "pricing">): string {
  const amount = money(job.amount, job.currency);
  return job.pricing === "hourly" ? t("price.per_hour", { amount }) : amount;
}

export function Price({ app, job }: { app: PhoneApp; job: Job }) {
  const [asks, setAsks] = useState(false);
  const { busy, error, run } = useWork();
  const proposal = job.proposal;
  const mayPropose = blueprints.value.get(job.blueprint)?.propose.includes(job.status) && !job.frozen && !job.asked;
  if (!proposal && !mayPropose) return null;
  const answer = (verb: "accept" | "reject") =>
    run(async () => {
      const path = `/v1/jobs/${job.id}/price-proposals/${proposal!.id}/${verb}`;
      const reply = await app.outbox.send("POST", path, {}, { what: verb, job: job.id });
      app.take(reply?.job);
      app.refresh(job.id);
    });
  const isMine = proposal?.by.id === app.me.id;
  return (
    <Card title={t("price.title")}>
      <div class="stack">
        <p class="number">{priceOf(job)}</p>
        {proposal && (
          <>
            <p>
              {t(isMine ? "price.proposed_by_me" : "price.proposed", { amount: money(proposal.amount, job.currency) })}
            </p>
            {proposal.reason && <blockquote>{proposal.reason}</blockquote>}
            {!isMine && (
              <div class="row">
                <Button kind="main" busy={busy} onClick={() => void answer("accept")}>{t("price.accept")}</Button>
                <Button busy={busy} onClick={() => void answer("reject")}>{t("price.reject")}</Button>
              </div>
            )}
          </>
        )}
        {!proposal && <Button onClick={() => setAsks(true)}>{t("price.propose")}</Button>}
        <ErrorNote error={error} />
      </div>
      {asks && <ProposeSheet app={app} job={job} close={() => setAsks(false)} />}
    </Card>
  );
}

function ProposeSheet({ app, job, close }: { app: PhoneApp; job: Job; close: () => void }) {
  const { busy, error, run } = useWork();
  const [wrong, setWrong] = useState("");
  const send = async (event: SubmitEvent) => {
    event.preventDefault();
    const fields = new FormData(event.target as HTMLFormElement);
    const amount = minorUnits(String(fields.get("amount")), job.currency);
    const reason = String(fields.get("reason") ?? "").trim();
    setWrong(amount === null ? t("price.wrong") : "");
    if (amount === null) return;
    const body = { amount, ...(reason ? { reason } : {}) };
    const about = { what: "price", job: job.id };
    const done = await run(() => app.outbox.send("POST", `/v1/jobs/${job.id}/price-proposals`, body, about));
    if (done) close();
  };
  return (
    <Sheet title={t("price.propose")} close={close}>
      <form class="stack" onSubmit={send}>
        <Field label={t("price.amount", { currency: job.currency })} wrong={wrong}>
          {(a) => <input {...a} name="amount" inputMode="decimal" required />}
        </Field>
        <Field label={t("price.reason")}>{(a) => <input {...a} name="reason" maxLength={200} />}</Field>
        <ErrorNote error={error} />
        <Button type="submit" kind="main" big wide busy={busy}>{t("price.propose")}</Button>
      </form>
    </Sheet>
  );
}
