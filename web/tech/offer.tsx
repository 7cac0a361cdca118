// An offer, over everything else: four facts, a ring that runs out by the server's clock, and one button across the width.

import { useEffect, useRef, useState } from "preact/hooks";
import { signal } from "@preact/signals";
import { CalloutError } from "../shared/api.ts";
import { t } from "../shared/i18n/i18n.ts";
import { minorUnits, money } from "../shared/money.ts";
import { go } from "../shared/router.ts";
import type { Job, PublicJob } from "../shared/schema.ts";
import { clock, dayAndTime, distance, duration } from "../shared/time.ts";
import { Button, ErrorNote, Field } from "../shared/ui/parts.tsx";
import { toast } from "../shared/ui/toast.tsx";
import type { PhoneApp } from "../phone/app.ts";
import { commandOf, serviceName, stateOf } from "../phone/blueprints.ts";
import { priceOf } from "../phone/price.tsx";
import { useWork } from "../phone/steps.tsx";
import { useAlarm } from "./alarm.ts";
import { Ring, secondsLeft } from "./ring.tsx";

interface Invitation {
  job: PublicJob | Job;
  /** When it runs out; null: it stays until it is answered. */
  ends: number | null;
  began: number;
  distance_m?: number | null;
  kind: "claim" | "bid" | "answer";
}

/** Offers that the technician put aside with *Not now*, of jobs that can wait. */
const later = signal<Set<string>>(new Set());

/** The codes of a lost race: somebody else has the job, or the customer cancelled it. These are no errors. */
const GONE = new Set(["taken", "expired", "cancelled", "not_offered", "illegal_transition", "not_found"]);

/** The offer that waits for an answer: the one that runs out first. */
export function invitationOf(app: PhoneApp): Invitation | undefined {
  const offered: Invitation[] = app.offers.value.filter((offer) => offer.status === "sent").map((offer) => ({
    job: offer.job,
    ends: Date.parse(offer.expires_at),
    began: Date.parse(offer.offered_at),
    distance_m: offer.distance_m,
    kind: stateOf(offer.job)?.seeks === "bids" ? "bid" : "claim",
  }));
  const asked: Invitation[] = app.liveJobs.value
    .filter((job) => (job.actions ?? []).includes("accept") && !offered.some((each) => each.job.id === job.id))
    .map((job) => ({ job, ends: null, began: Date.parse(job.updated_at ?? ""), kind: "answer" }));
  return [...offered, ...asked].filter((each) =>
    !later.value.has(each.job.id) && (!each.ends || each.ends > clock.value)
  )
    .sort((one, other) => (one.ends ?? Infinity) - (other.ends ?? Infinity))[0];
}

export function OfferScreen({ app }: { app: PhoneApp }) {
  const invitation = invitationOf(app);
  useAlarm(invitation?.job.id);
  if (!invitation) return null;
  return <OfferDialog key={invitation.job.id} app={app} invitation={invitation} />;
}

function OfferDialog({ app, invitation }: { app: PhoneApp; invitation: Invitation }) {
  const dialog = useRef<HTMLDialogElement>(null);
  const { busy, error, run } = useWork();
  const { job, ends, kind } = invitation;
  useEffect(() => {
    dialog.current?.showModal();
    return () => dialog.current?.close();
  }, []);

  const answer = async (work: () => Promise<unknown>, then: () => void) => {
    await run(async () => {
      try {
        await work();
        then();
      } catch (refusal) {
        if (!(refusal instanceof CalloutError) || !GONE.has(refusal.code)) throw refusal;
        toast(t(refusal.code === "taken" ? "offer.faster" : "offer.gone"));
      }
      app.offers.value = app.offers.value.filter((offer) => offer.job.id !== job.id);
      await app.loadOffers().catch(() => {});
    });
  };
  const take = () =>
    answer(async () => {
      const name = kind === "answer" ? "accept" : "claim";
      const reply = await app.outbox.send("POST", `/v1/jobs/${job.id}/${name}`, {}, { what: "claim", job: job.id });
      app.take(reply.job);
    }, () => go(`/tech/jobs/${job.id}`));
  const refuse = () => {
    if (kind === "bid") {
      later.value = new Set(later.value).add(job.id);
      return;
    }
    const path = kind === "answer" ? `/v1/jobs/${job.id}/decline` : `/v1/jobs/${job.id}/respond`;
    const body = kind === "answer" ? {} : { status: "rejected" };
    void answer(() => app.outbox.send("POST", path, body, { what: "decline", job: job.id }), () => app.drop(job.id));
  };

  return (
    <dialog
      ref={dialog}
      class="offer"
      aria-label={t("offer.title")}
      onCancel={(event) => event.preventDefault()}
    >
      <div class="offer-inside">
        <Ring ends={ends} began={invitation.began} />
        <h1>{serviceName(job) || t("offer.title")}</h1>
        <dl class="facts offer-facts">
          <Fact name={t("offer.pay")} value={priceOf(job)} />
          <Fact
            name={t("offer.distance")}
            value={invitation.distance_m !== undefined && invitation.distance_m !== null
              ? distance(invitation.distance_m)
              : t("offer.unknown")}
          />
          <Fact name={t("offer.when")} value={job.scheduled_for ? dayAndTime(job.scheduled_for) : t("offer.now")} />
          <Fact name={t("offer.duration")} value={duration((job.duration_min ?? 60) * 60)} />
        </dl>
        {job.public_notes && <blockquote>{job.public_notes}</blockquote>}
        <ErrorNote error={error} />
        {kind === "bid"
          ? <BidForm app={app} job={job} busy={busy} answer={answer} />
          : (
            <Button kind="main" big wide busy={busy} onClick={() => void take()}>
              {t(commandOf(job, "accept") && kind === "answer" ? "offer.accept" : "offer.take")}
            </Button>
          )}
        <Button kind="quiet" busy={busy} onClick={refuse}>{t("offer.not_now")}</Button>
        {ends !== null && <span class="sr-only" role="timer">{t("offer.left", { n: secondsLeft(ends) })}</span>}
      </div>
    </dialog>
  );
}

function Fact({ name, value }: { name: string; value: string }) {
  return (
    <div>
      <dt>{name}</dt>
      <dd class="number">{value}</dd>
    </div>
  );
}

/** A bid instead of a claim: an amount, or that of the customer. */
function BidForm(
  { app, job, busy, answer }: {
    app: PhoneApp;
    job: PublicJob | Job;
    busy: boolean;
    answer: (work: () => Promise<unknown>, then: () => void) => Promise<void>;
  },
) {
  const [wrong, setWrong] = useState("");
  const send = (event: SubmitEvent) => {
    event.preventDefault();
    const fields = new FormData(event.target as HTMLFormElement);
    const [typed, note] = ["amount", "note"].map((name) => String(fields.get(name) ?? "").trim());
    const amount = typed ? minorUnits(typed, job.currency) : undefined;
    setWrong(amount === null ? t("price.wrong") : "");
    if (amount === null) return;
    const body = { ...(amount !== undefined && { amount }), ...(note && { note }) };
    void answer(
      () => app.outbox.send("POST", `/v1/jobs/${job.id}/bids`, body, { what: "bid", job: job.id }),
      () => toast(t("offer.bid_sent")),
    );
  };
  return (
    <form class="stack" onSubmit={send}>
      <Field label={t("price.amount", { currency: job.currency })} wrong={wrong}>
        {(a) => <input {...a} name="amount" inputMode="decimal" placeholder={money(job.amount, job.currency)} />}
      </Field>
      <Field label={t("offer.bid_note")}>{(a) => <input {...a} name="note" maxLength={300} />}</Field>
      <Button type="submit" kind="main" big wide busy={busy}>{t("offer.bid")}</Button>
    </form>
  );
}
