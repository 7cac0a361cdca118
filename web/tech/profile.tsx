// The technician's profile: name, phone, services; and the documents by which the business knows them.

import { useState } from "preact/hooks";
import { known, t } from "../shared/i18n/i18n.ts";
import { Button, Card, Chip, ErrorNote, Field, LinkButton } from "../shared/ui/parts.tsx";
import { Icon } from "../shared/ui/icons.tsx";
import { toast } from "../shared/ui/toast.tsx";
import type { PhoneApp } from "../phone/app.ts";
import { services } from "../phone/blueprints.ts";
import { upload } from "../phone/photos.tsx";
import { PushSwitch } from "../phone/push_switch.tsx";
import { useWork } from "../phone/steps.tsx";

export function Profile({ app }: { app: PhoneApp }) {
  const technician = app.technician.value;
  const { busy, error, run } = useWork();
  if (!technician) return null;
  const save = async (event: SubmitEvent) => {
    event.preventDefault();
    const fields = new FormData(event.target as HTMLFormElement);
    const [name, phone] = ["name", "phone"].map((each) => String(fields.get(each) ?? "").trim());
    const body = { name, phone: phone || null, services: fields.getAll("service").map(String) };
    const done = await run(() =>
      app.api.call("PATCH /v1/technicians/{id}", { params: { id: app.me.id }, body }).then(() => app.loadMe())
    );
    if (done) toast(t("profile.saved"));
  };
  const offered = [...services.value.values()].filter((each) => each.active);
  return (
    <>
      <header class="lead">
        <h1>{t("tech.profile")}</h1>
      </header>
      <form class="stack" onSubmit={save}>
        <Field label={t("sign.name")}>
          {(a) => <input {...a} name="name" required defaultValue={technician.name} />}
        </Field>
        <Field label={t("profile.phone")}>
          {(a) => <input {...a} name="phone" type="tel" defaultValue={technician.phone ?? ""} />}
        </Field>
        <fieldset class="choices">
          <legend class="small soft">{t("profile.services")}</legend>
          {offered.map((each) => (
            <label key={each.id}>
              <input
                type="checkbox"
                name="service"
                value={each.id}
                defaultChecked={technician.services.includes(each.id)}
              />
              {each.name}
            </label>
          ))}
        </fieldset>
        <ErrorNote error={error} />
        <Button type="submit" kind="main" wide busy={busy}>{t("profile.save")}</Button>
      </form>
      <PushSwitch app={app} />
      <Documents app={app} />
      <LinkButton href="/tech">{t("action.back")}</LinkButton>
    </>
  );
}

function Documents({ app }: { app: PhoneApp }) {
  const { kyc, account } = app.technician.value!;
  const { busy, error, run } = useWork();
  const [sent, setSent] = useState(0);
  const send = async (input: HTMLInputElement) => {
    const files = [...input.files ?? []];
    input.value = "";
    await run(async () => {
      for (const file of files) await upload(app, `/v1/files?for=technician:${app.me.id}`, file);
      setSent(sent + files.length);
    });
  };
  return (
    <Card title={t("tech.documents")}>
      <div class="stack">
        <div class="row">
          <span class="grow">{t("profile.kyc")}</span>
          <Chip state={kyc === "approved" ? "done" : kyc === "rejected" ? "danger" : "open"}>
            {known("review", kyc ?? "pending")}
          </Chip>
        </div>
        <div class="row">
          <span class="grow">{t("profile.account")}</span>
          <Chip state={account === "approved" ? "done" : account === "suspended" ? "danger" : "open"}>
            {known("review", account ?? "pending")}
          </Chip>
        </div>
        <p class="small soft">{t("profile.documents_text")}</p>
        <label class="photo-add document-add" aria-busy={busy || undefined}>
          <Icon name="camera" size={26} />
          <span>{busy ? t("photos.sending") : t("profile.add_document")}</span>
          <input
            class="sr-only"
            type="file"
            accept="image/*"
            multiple
            onChange={(event) => void send(event.currentTarget)}
          />
        </label>
        {sent > 0 && <p role="status">{t("profile.sent", { n: sent })}</p>}
        <ErrorNote error={error} />
      </div>
    </Card>
  );
}
