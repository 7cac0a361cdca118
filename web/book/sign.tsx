// The signature: the customer signs the record that is shown, by its digest. If the record has changed meanwhile (another
// photo, another amount), the server refuses, and the new one is shown.

import SignaturePad from "signature_pad";
import { useEffect, useRef, useState } from "preact/hooks";
import { t } from "../shared/i18n/i18n.ts";
import type { Job, RecordReply } from "../shared/schema.ts";
import { Button, Card, ErrorNote, Field, Note, Spinner } from "../shared/ui/parts.tsx";
import { toast } from "../shared/ui/toast.tsx";
import type { PhoneApp } from "../phone/app.ts";
import { priceOf } from "../phone/price.tsx";
import { serviceName } from "../phone/blueprints.ts";
import { useWork } from "../phone/steps.tsx";

const MAX_POINTS = 4_500;

/** Return the strokes of the pen: each point as whole numbers, `[x, y, ms]`. If there are very many points, some are
 * left out. */
export function strokesOf(pad: SignaturePad): number[][][] {
  const groups = pad.toData().map((group) => group.points);
  const every = Math.ceil(groups.reduce((sum, points) => sum + points.length, 0) / MAX_POINTS);
  const began = groups[0]?.[0]?.time ?? 0;
  return groups.slice(0, 500).map((points) =>
    points.filter((_, i) => i % every === 0).map(({ x, y, time }) => [x, y, time - began].map(Math.round))
  );
}

export function Sign({ app, job }: { app: PhoneApp; job: Job }) {
  const [shown, setShown] = useState<RecordReply | null>(null);
  const [changed, setChanged] = useState(false);
  const [isEmpty, setEmpty] = useState(true);
  const { busy, error, run } = useWork();
  const canvas = useRef<HTMLCanvasElement>(null);
  const pad = useRef<SignaturePad | null>(null);
  const load = () =>
    run(async () => setShown(await app.api.call("GET /v1/jobs/{id}/record", { params: { id: job.id } })));
  useEffect(() => void load(), [job.id, job.version]);
  useEffect(() => {
    if (!canvas.current) return;
    const { current } = canvas;
    const ratio = Math.max(devicePixelRatio, 1);
    [current.width, current.height] = [current.offsetWidth * ratio, current.offsetHeight * ratio];
    current.getContext("2d")!.scale(ratio, ratio);
    pad.current = new SignaturePad(current, { penColor: "#10202c" });
    pad.current.addEventListener("endStroke", () => setEmpty(pad.current!.isEmpty()));
    return () => pad.current?.off();
  }, [shown !== null]);
  const clear = () => {
    pad.current?.clear();
    setEmpty(true);
  };
  const sign = async (event: SubmitEvent) => {
    event.preventDefault();
    const name = String(new FormData(event.target as HTMLFormElement).get("name")).trim();
    const body = { sha256: shown!.sha256, name, strokes: strokesOf(pad.current!) };
    await run(async () => {
      try {
        const reply = await app.outbox.send("POST", `/v1/jobs/${job.id}/sign`, body, { what: "sign", job: job.id });
        app.take(reply?.job);
        toast(t("sign_job.done"));
      } catch (refusal) {
        if ((refusal as { code?: string }).code !== "version_conflict") throw refusal;
        setChanged(true);
        clear();
        setShown(await app.api.call("GET /v1/jobs/{id}/record", { params: { id: job.id } }));
      }
    });
  };
  if (!shown) return error ? <ErrorNote error={error} retry={load} /> : <Spinner label={t("book.loading")} />;
  return (
    <Card title={t("sign_job.title")}>
      <form class="stack" onSubmit={sign}>
        <p>{t("sign_job.text", { service: serviceName(job), price: priceOf(job), n: job.photos?.length ?? 0 })}</p>
        {changed && <Note kind="warning">{t("sign_job.changed")}</Note>}
        <details>
          <summary>{t("sign_job.record")}</summary>
          <pre class="record" tabIndex={0}>{JSON.stringify(shown.record, null, 2)}</pre>
        </details>
        <p class="small soft digest">
          {t("sign_job.digest")} <code>{shown.sha256}</code>
        </p>
        <Field label={t("sign_job.name")}>
          {(a) => <input {...a} name="name" autocomplete="name" required defaultValue={app.me.name} />}
        </Field>
        <div class="field">
          <span class="label" id="sign-here">{t("sign_job.here")}</span>
          <canvas ref={canvas} class="sign-pad" role="img" aria-labelledby="sign-here" />
        </div>
        <ErrorNote error={error} />
        <div class="row">
          <Button onClick={clear} disabled={isEmpty}>{t("sign_job.clear")}</Button>
          <Button class="grow" type="submit" kind="main" big disabled={isEmpty} busy={busy}>
            {t("sign_job.sign")}
          </Button>
        </div>
      </form>
    </Card>
  );
}
