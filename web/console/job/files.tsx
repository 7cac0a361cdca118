// The photos of a job and its signature, with the checks of its receipt.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { known } from "../../shared/i18n/i18n.ts";
import { dayAndTime } from "../../shared/time.ts";
import { Button, Chip, Empty } from "../../shared/ui/parts.tsx";
import type { File as StoredFile, Job } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { tc, word } from "../i18n/texts.ts";
import { useLoaded } from "../load.ts";
import { Photo } from "../photo.tsx";
import { Shown } from "../shown.tsx";

export function FilesTab({ console, job }: { console: Console; job: Job }) {
  const photos = job.photos ?? [];
  if (!photos.length && !job.signed) {
    return <Empty icon="check" title={tc("files.none")}>{tc("files.none_text")}</Empty>;
  }
  return (
    <div class="stack">
      {job.signed && <Signature console={console} signed={job.signed} />}
      <ul class="photos">{photos.map((file) => <PhotoCard key={file.id} console={console} file={file} />)}</ul>
    </div>
  );
}

function PhotoCard({ console, file }: { console: Console; file: StoredFile }) {
  return (
    <li>
      <Photo
        console={console}
        id={file.id}
        text={tc("files.photo", { kind: file.kind, role: known("role", file.by.role) })}
      />
      <span class="small soft">
        {file.kind.replaceAll("_", " ")} · {known("role", file.by.role)} · {dayAndTime(file.at)}
      </span>
    </li>
  );
}

const asked = signal("");

function Signature({ console, signed }: { console: Console; signed: NonNullable<Job["signed"]> }) {
  useEffect(() => void (asked.value = ""), [signed.receipt]);
  return (
    <section class="signature">
      <p>
        <Chip state="done">{tc("files.signed")}</Chip> {dayAndTime(signed.at)}
      </p>
      <p class="small soft">
        SHA-256 <code>{signed.sha256}</code>
      </p>
      {asked.value === signed.receipt
        ? <Checks console={console} signed={signed} />
        : console.isOps && (
          <Button icon="check" onClick={() => (asked.value = signed.receipt)}>{tc("files.verify")}</Button>
        )}
    </section>
  );
}

function Checks({ console, signed }: { console: Console; signed: NonNullable<Job["signed"]> }) {
  const read = () =>
    console.api.call("GET /v1/vault/{id}/verify", { params: { id: signed.receipt }, query: { sha256: signed.sha256 } });
  const loaded = useLoaded(read, [signed.receipt]);
  return (
    <Shown loaded={loaded}>
      {({ verified, pending, checks }) => (
        <>
          <p role="status">
            <Chip state={verified ? "done" : pending ? "open" : "danger"}>
              {tc(verified ? "files.verified" : pending ? "files.pending" : "files.failed")}
            </Chip>
          </p>
          <ul class="checks">
            {checks.map((check) => (
              <li key={check.name}>
                <Chip state={check.result === "ok" ? "done" : check.result === "failed" ? "danger" : "open"}>
                  {word("check", check.result)}
                </Chip>
                {word("check_name", check.name)}
              </li>
            ))}
          </ul>
        </>
      )}
    </Shown>
  );
}
