// The chat of a job. A message that the server has not answered yet is stored in the browser and sent again after a reload, with
// the same `client_id`: the server stores it once.

import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { useComputed, useSignal } from "@preact/signals";
import { Room } from "../../clients/javascript/room.js";
import { known, t } from "../shared/i18n/i18n.ts";
import { readStored, store } from "../shared/platform.ts";
import { timeOfDay } from "../shared/time.ts";
import { Button } from "../shared/ui/parts.tsx";
import type { PhoneApp } from "./app.ts";
import "./chat.css";

/** The author of a message. The user's own message that still waits has none. */
const nameOfSender = (message: { sender: { id: string; name?: string } }) => message.sender.name ?? "";

interface Unsaid {
  text: string;
  client_id: string;
}

const nameOf = (room: string) => `unsaid.${room}`;
function readUnsaid(room: string): Unsaid[] {
  try {
    return JSON.parse(readStored(nameOf(room)) ?? "[]");
  } catch {
    return [];
  }
}
function writeUnsaid(room: string, unsaid: Unsaid[]): void {
  store(nameOf(room), unsaid.length ? JSON.stringify(unsaid) : null);
}

export function Chat({ app, room: id }: { app: PhoneApp; room: string }) {
  const changes = useSignal(0);
  const room = useMemo(() => new Room(app.live.callout, id), [id]);
  const list = useRef<HTMLOListElement>(null);
  const last = useRef<string | undefined>(undefined);
  const [text, setText] = useState("");
  useEffect(() => {
    const onChange = () => {
      changes.value += 1;
      const said = new Set(room.messages.filter((message) => message.n !== undefined).map((each) => each.client_id));
      const unsaid = readUnsaid(id);
      if (unsaid.some((each) => said.has(each.client_id))) {
        writeUnsaid(id, unsaid.filter((each) => !said.has(each.client_id)));
      }
      void room.read();
      const newest = room.messages.at(-1)?.client_id;
      if (newest !== last.current) {
        requestAnimationFrame(() => list.current && (list.current.scrollTop = list.current.scrollHeight));
      }
      last.current = newest;
    };
    room.addEventListener("change", onChange);
    for (const one of readUnsaid(id)) room.say(one.text, { client_id: one.client_id });
    void room.open().catch(() => {});
    return () => {
      room.removeEventListener("change", onChange);
      room.close();
    };
  }, [room]);
  const me = app.me.id;
  const messages = useComputed(() => changes.value >= 0 ? [...room.messages] : []).value;
  const typing = useComputed(() => changes.value >= 0 ? room.typingUsers : []).value;
  const say = (event: Event) => {
    event.preventDefault();
    const said = text.trim();
    if (!said) return;
    const { client_id } = room.say(said);
    if (!room.messages.some((each) => each.client_id === client_id && each.n !== undefined)) {
      writeUnsaid(id, [...readUnsaid(id), { text: said, client_id }]);
    }
    room.typing(false);
    setText("");
  };
  const others = room.members.filter((member) => member.id !== me);
  const closed = room.state === "closed" || room.state === "left";
  return (
    <div class="chat">
      <p class="small soft">
        {others.map((member) => `${member.name} (${known("role", member.role)})`).join(", ")}
      </p>
      {changes.value >= 0 && room.hasOlder && (
        <Button
          kind="quiet"
          onClick={() => void room.loadOlder().catch(() => {})}
        >
          {t("chat.older")}
        </Button>
      )}
      <ol ref={list} tabIndex={0} aria-label={t("chat.messages")} aria-live="polite">
        {messages.length === 0 && <li class="soft small nothing">{t("chat.empty")}</li>}
        {messages.map((message) => (
          <li key={message.client_id} data-own={message.sender.id === me || undefined} data-state={message.state}>
            {message.sender.id !== me && <span class="small soft">{nameOfSender(message)}</span>}
            <p>{message.text}</p>
            <span class="small soft">
              {message.state ? t(`chat.${message.state}`) : timeOfDay(message.at)}
            </span>
          </li>
        ))}
      </ol>
      <p class="small soft typing" aria-live="polite">
        {typing.length > 0 && t("chat.typing", { name: others.find((each) => each.id === typing[0])?.name ?? "" })}
      </p>
      {closed ? <p class="soft small">{t("chat.closed")}</p> : (
        <form class="say" onSubmit={say}>
          <input
            value={text}
            aria-label={t("chat.message")}
            placeholder={t("chat.message")}
            autocomplete="off"
            enterkeyhint="send"
            maxLength={4000}
            onInput={(event) => {
              setText(event.currentTarget.value);
              room.typing(true);
            }}
          />
          <Button type="submit" kind="main">{t("chat.send")}</Button>
        </form>
      )}
    </div>
  );
}
