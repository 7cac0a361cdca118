// An image that only some users may read. It is fetched with the user's token.

import { useEffect, useState } from "preact/hooks";
import { Icon } from "../shared/ui/icons.tsx";
import type { Console } from "./data/console.ts";
import { tc } from "./i18n/texts.ts";

export function Photo({ console, id, text }: { console: Console; id: string; text: string }) {
  const [address, setAddress] = useState("");
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    const end = new AbortController();
    let made = "";
    read(console, id, end.signal).then(
      (blob) => setAddress(made = URL.createObjectURL(blob)),
      () => setFailed(!end.signal.aborted),
    );
    return () => (end.abort(), made && URL.revokeObjectURL(made));
  }, [id]);
  if (failed) {
    return (
      <span class="photo-none">
        <Icon name="alert" /> {tc("files.unreadable")}
      </span>
    );
  }
  return address
    ? (
      <a href={address} target="_blank" rel="noreferrer">
        <img src={address} alt={text} loading="lazy" />
      </a>
    )
    : <span class="photo-none" aria-busy="true" />;
}

async function read(console: Console, id: string, signal: AbortSignal): Promise<Blob> {
  const headers = { Authorization: `Bearer ${await console.live.session.token(false)}` };
  const answer = await fetch(`/v1/files/${encodeURIComponent(id)}`, { headers, signal });
  if (!answer.ok) throw new Error(String(answer.status));
  return answer.blob();
}
