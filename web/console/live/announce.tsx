// Send an announcement to all users of some roles, such as that the business is closed, or a promotion.

import { signal } from "@preact/signals";
import type { CalloutError } from "../../shared/api.ts";
import { known } from "../../shared/i18n/i18n.ts";
import { Button, ErrorNote, Field } from "../../shared/ui/parts.tsx";
import { Sheet } from "../../shared/ui/sheet.tsx";
import { toast } from "../../shared/ui/toast.tsx";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";
import { errorOf } from "../load.ts";

export const announceIsOpen = signal(false);
const error = signal<CalloutError | null>(null);
const busy = signal(false);
const ROLES = ["customer", "technician", "mediator"] as const;
const KINDS = ["notice", "closed", "reopened", "promotion"] as const;

export function Announce({ console }: { console: Console }) {
  const close = () => (announceIsOpen.value = false, error.value = null);
  const submit = async (event: SubmitEvent) => {
    event.preventDefault();
    const fields = new FormData(event.target as HTMLFormElement);
    const roles = fields.getAll("role") as (typeof ROLES)[number][];
    busy.value = true;
    error.value = null;
    try {
      const body = { event: `announcement.${fields.get("kind")}`, roles, data: { text: String(fields.get("text")) } };
      await console.api.call("POST /v1/announcements", { body });
      toast(tc("announce.sent"));
      close();
    } catch (refusal) {
      error.value = errorOf(refusal);
    }
    busy.value = false;
  };
  return (
    <Sheet title={tc("announce.title")} close={close}>
      <form class="stack" onSubmit={submit}>
        <Field label={tc("announce.kind")}>
          {(a) => (
            <select {...a} name="kind">
              {KINDS.map((kind) => <option key={kind} value={kind}>{tc(`announce.${kind}`)}</option>)}
            </select>
          )}
        </Field>
        <Field label={tc("announce.text")}>
          {(a) => <textarea {...a} name="text" rows={3} required maxLength={1000} />}
        </Field>
        <fieldset class="choice">
          <legend>{tc("announce.roles")}</legend>
          {ROLES.map((role) => (
            <label key={role} class="row">
              <input type="checkbox" name="role" value={role} defaultChecked={role !== "mediator"} />{" "}
              {known("role", role)}
            </label>
          ))}
        </fieldset>
        <ErrorNote error={error.value} />
        <Button type="submit" kind="main" wide busy={busy.value}>{tc("announce.send")}</Button>
      </form>
    </Sheet>
  );
}
