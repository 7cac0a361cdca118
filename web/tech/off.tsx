// The page of a technician who is offline: a button to go online, or what is missing before that is possible.

import { useState } from "preact/hooks";
import { t } from "../shared/i18n/i18n.ts";
import { Button, Card, ErrorNote, LinkButton, Note } from "../shared/ui/parts.tsx";
import { Icon } from "../shared/ui/icons.tsx";
import { MapView } from "../shared/ui/map_view.tsx";
import type { PhoneApp } from "../phone/app.ts";
import { PushSwitch } from "../phone/push_switch.tsx";
import { useWork } from "../phone/steps.tsx";
import { Agenda } from "./agenda.tsx";
import type { OwnPlace } from "./place.ts";

export function Off({ app, place }: { app: PhoneApp; place: OwnPlace }) {
  const { busy, error, run } = useWork();
  const [chooses, setChooses] = useState(false);
  const { kyc, account, services, name } = app.technician.value!;
  const missing = [
    (!name || !services.length) && { text: t("tech.missing_profile"), href: "/tech/profile", link: t("tech.profile") },
    kyc !== "approved" && {
      text: t(kyc === "rejected" ? "tech.kyc_rejected" : "tech.missing_kyc"),
      href: "/tech/profile",
      link: t("tech.documents"),
    },
    account !== "approved" && {
      text: t(account === "suspended" ? "tech.suspended" : "tech.missing_account"),
      href: "",
      link: "",
    },
  ].filter((each) => !!each);
  const start = async () => {
    const here = place.here.peek() ?? await place.find();
    if (!here) return setChooses(true);
    await run(async () => {
      const params = { id: app.me.id };
      const body = { online: true, lat: here.lat, lon: here.lon };
      await app.api.call("PUT /v1/technicians/{id}/availability", { params, body });
      await app.loadMe();
      place.startWatch();
    });
  };
  return (
    <>
      <header class="lead">
        <h1>{t("tech.off")}</h1>
        <p class="soft">{t("tech.off_text")}</p>
      </header>
      {missing.length > 0 && (
        <Card title={t("tech.missing")}>
          <ul class="list">
            {missing.map((each) => (
              <li key={each.text}>
                <div class="line">
                  <Icon name="alert" />
                  <span class="grow">{each.text}</span>
                  {each.href && <LinkButton href={each.href}>{each.link}</LinkButton>}
                </div>
              </li>
            ))}
          </ul>
        </Card>
      )}
      {chooses && (
        <>
          <Note kind="warning">{t(place.problem.value === "insecure" ? "place.insecure" : "place.denied")}</Note>
          <div class="map-frame pin-map">
            <MapView
              label={t("place.choose")}
              ready={(city) => {
                const note = () => {
                  const { lat, lng } = city.map.getCenter();
                  place.put(lat, lng, "chosen");
                };
                city.map.on("moveend", note);
                note();
              }}
            />
            <span class="pin" aria-hidden="true">
              <Icon name="pin" size={40} />
            </span>
          </div>
        </>
      )}
      <Button kind="main" big wide busy={busy} disabled={missing.length > 0} onClick={() => void start()}>
        {t(chooses ? "tech.go_online_here" : "tech.go_online")}
      </Button>
      <ErrorNote error={error} />
      <PushSwitch app={app} invite />
      <Agenda app={app} />
      <nav class="row" aria-label={t("tech.more")}>
        <LinkButton href="/tech/earnings">{t("tech.earnings")}</LinkButton>
        <LinkButton href="/tech/profile">{t("tech.profile")}</LinkButton>
      </nav>
    </>
  );
}
