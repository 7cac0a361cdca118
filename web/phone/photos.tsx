// The photos of a job: those that are there, and a button that takes one more. The server removes the metadata of a picture and keeps its pixels.

import { useEffect, useState } from "preact/hooks";
import { CalloutError } from "../shared/api.ts";
import { t } from "../shared/i18n/i18n.ts";
import type { Job } from "../shared/schema.ts";
import { Card, ErrorNote } from "../shared/ui/parts.tsx";
import { Icon } from "../shared/ui/icons.tsx";
import type { PhoneApp } from "./app.ts";
import { useWork } from "./steps.tsx";

const MAX_SIDE = 2_048;

/** Return a picture in a format and size that the server accepts. A phone may give HEIC, or more than 8 MiB. */
async function prepare(file: Blob): Promise<Blob> {
  if (["image/jpeg", "image/png", "image/webp"].includes(file.type) && file.size < 4 * 2 ** 20) return file;
  const image = await createImageBitmap(file);
  const part = Math.min(1, MAX_SIDE / Math.max(image.width, image.height));
  const canvas = new OffscreenCanvas(Math.round(image.width * part), Math.round(image.height * part));
  canvas.getContext("2d")!.drawImage(image, 0, 0, canvas.width, canvas.height);
  return await canvas.convertToBlob({ type: "image/jpeg", quality: 0.85 });
}

/** Send a picture as it is: a body of bytes, with the user's token. */
export async function upload(app: PhoneApp, path: string, picture: Blob): Promise<void> {
  const body = await prepare(picture);
  for (const fresh of [false, true]) {
    const headers = { Authorization: `Bearer ${await app.live.session.token(fresh)}`, "Content-Type": body.type };
    const answer = await fetch(path, { method: "POST", headers, body }).catch((error) => {
      throw new CalloutError({ code: "unreachable", title: String(error) });
    });
    if (answer.ok) return;
    const problem = await answer.json().catch(() => ({ code: "internal", title: String(answer.status) }));
    if (problem.code !== "token_expired") throw new CalloutError(problem);
  }
}

export function Photos({ app, job, canAdd, hint }: { app: PhoneApp; job: Job; canAdd: boolean; hint?: string }) {
  const { busy, error, run } = useWork();
  const photos = job.photos ?? [];
  if (!photos.length && !canAdd) return null;
  const add = async (input: HTMLInputElement) => {
    const files = [...input.files ?? []];
    input.value = "";
    await run(async () => {
      for (const file of files) await upload(app, `/v1/jobs/${job.id}/photos`, file);
    });
    app.refresh(job.id);
  };
  return (
    <Card title={t("photos.title")}>
      <div class="stack">
        {hint && <p class="soft small">{hint}</p>}
        <ul class="photos">
          {photos.map((photo, i) => (
            <li key={photo.id}>
              <Picture app={app} file={photo.id} label={t("photos.one", { n: i + 1 })} />
            </li>
          ))}
          {canAdd && (
            <li>
              <label class="photo-add" aria-busy={busy || undefined}>
                <Icon name="camera" size={26} />
                <span>{busy ? t("photos.sending") : t("photos.add")}</span>
                <input
                  class="sr-only"
                  type="file"
                  accept="image/*"
                  multiple
                  disabled={busy}
                  onChange={(event) => void add(event.currentTarget)}
                />
              </label>
            </li>
          )}
        </ul>
        <ErrorNote error={error} />
      </div>
    </Card>
  );
}

/** A picture that only some users may read. An `<img>` element sends no token, so it cannot load the picture itself. */
export function Picture({ app, file, label }: { app: PhoneApp; file: string; label: string }) {
  const [url, setUrl] = useState("");
  useEffect(() => {
    let [gone, made] = [false, ""];
    void (async () => {
      const headers = { Authorization: `Bearer ${await app.live.session.token(false)}` };
      const answer = await fetch(`/v1/files/${file}`, { headers });
      if (!answer.ok || gone) return;
      setUrl(made = URL.createObjectURL(await answer.blob()));
    })().catch(() => {});
    return () => {
      gone = true;
      if (made) URL.revokeObjectURL(made);
    };
  }, [file]);
  return url ? <img src={url} alt={label} /> : <span class="photo-wait" role="img" aria-label={label} />;
}
