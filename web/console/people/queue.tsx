// Technicians who wait for a review, the oldest first, with their documents and the decision.

import { signal } from "@preact/signals";
import type { CalloutError } from "../../shared/api.ts";
import { Button, Card, Chip, Empty, ErrorNote, Field } from "../../shared/ui/parts.tsx";
import { toast } from "../../shared/ui/toast.tsx";
import type { Technician } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { tc, word } from "../i18n/texts.ts";
import { errorOf, useLoaded } from "../load.ts";
import { Photo } from "../photo.tsx";
import { Shown } from "../shown.tsx";

type Decision = "approve" | "reject";

const busy = signal("");
const errors = signal<Record<string, CalloutError>>({});

export function Queue({ console }: { console: Console }) {
  const loaded = useLoaded(
    () => console.api.list("GET /v1/technicians", { query: { review: "pending" }, limit: 200 }),
    [],
  );
  const decide = async (who: Technician, decision: Decision, reason: string) => {
    busy.value = who.id;
    const { [who.id]: _, ...others } = errors.value;
    errors.value = others;
    try {
      const body = decision === "approve"
        ? { kyc: "approved" as const, account: "approved" as const, reason: reason || undefined }
        : { kyc: "rejected" as const, reason };
      const { technician } = await console.api.call("POST /v1/technicians/{id}/review", {
        params: { id: who.id },
        body,
      });
      console.people.put(technician);
      toast(tc(decision === "approve" ? "queue.approved" : "queue.rejected", { name: who.name }));
      await loaded.again();
    } catch (refusal) {
      errors.value = { ...errors.value, [who.id]: errorOf(refusal) };
    }
    busy.value = "";
  };
  return (
    <Shown loaded={loaded}>
      {(waiting) =>
        waiting.length
          ? (
            <div class="queue">
              {waiting.map((who) => <Waiting key={who.id} console={console} who={who} decide={decide} />)}
            </div>
          )
          : <Empty icon="check" title={tc("queue.none")}>{tc("queue.none_text")}</Empty>}
    </Shown>
  );
}

interface WaitingProps {
  console: Console;
  who: Technician;
  decide: (who: Technician, decision: Decision, reason: string) => Promise<void>;
}

function Waiting({ console, who, decide }: WaitingProps) {
  const documents = who.documents ?? [];
  const submit = (event: SubmitEvent) => {
    event.preventDefault();
    const form = new FormData(event.target as HTMLFormElement);
    const decision = (event.submitter as HTMLButtonElement).value as Decision;
    void decide(who, decision, String(form.get("reason")));
  };
  return (
    <Card title={who.name || who.id}>
      <div class="stack">
        <p class="row">
          <Chip state="open">{tc("queue.kyc", { state: word("review", who.kyc ?? "pending") })}</Chip>
          <Chip state="open">{tc("queue.account", { state: word("review", who.account ?? "pending") })}</Chip>
        </p>
        <p class="soft small">
          {[
            who.phone,
            who.services.map((id) => console.people.serviceName(id)).join(", ") || tc("queue.no_service"),
            who.zone,
          ].filter(Boolean).join(" · ")}
        </p>
        {documents.length
          ? (
            <ul class="photos">
              {documents.map((file) => (
                <li key={file.id}>
                  <Photo
                    console={console}
                    id={file.id}
                    text={tc("queue.document", { kind: file.kind, name: who.name })}
                  />
                  <span class="small soft">{file.kind.replaceAll("_", " ")}</span>
                </li>
              ))}
            </ul>
          )
          : <p class="soft">{tc("queue.no_documents")}</p>}
        <form class="stack" onSubmit={submit}>
          <Field label={tc("action.reason")} hint={tc("queue.reason_hint")}>
            {(a) => <input {...a} name="reason" maxLength={500} />}
          </Field>
          <ErrorNote error={errors.value[who.id] ?? null} />
          <div class="row">
            <Button type="submit" kind="main" value="approve" icon="check" busy={busy.value === who.id}>
              {tc("queue.approve")}
            </Button>
            <Button type="submit" value="reject" busy={busy.value === who.id}>{tc("queue.reject")}</Button>
          </div>
        </form>
      </div>
    </Card>
  );
}
