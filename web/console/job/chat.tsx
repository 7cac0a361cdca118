// The chat room of a job, as a member of the staff sees it. The audit records that they read it. They must join the
// room before they can write.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { CalloutError } from "../../shared/api.ts";
import { known } from "../../shared/i18n/i18n.ts";
import { timeOfDay } from "../../shared/time.ts";
import { Button, Empty, ErrorNote, Field } from "../../shared/ui/parts.tsx";
import type { Job, Message, Room } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";
import { errorOf, useLoaded } from "../load.ts";
import { Shown } from "../shown.tsx";

const text = signal("");
/** The room that this user has left while it was shown. */
const isOver = signal("");
/** The `client_id` of the message that the user writes. A repeat has the same one, so that it is stored once. */
const draft = signal(crypto.randomUUID());
const busy = signal(false);
const error = signal<CalloutError | null>(null);

interface Chat {
  room: Room;
  messages: Message[];
}

export function ChatTab({ console, job }: { console: Console; job: Job }) {
  if (!job.room) return <Empty icon="chat" title={tc("chat.none")}>{tc("chat.none_text")}</Empty>;
  return <RoomView console={console} id={job.room} />;
}

export function RoomView({ console, id }: { console: Console; id: string }) {
  const loaded = useLoaded(() => readChat(console, id), [id]);
  useEffect(() => {
    isOver.value = "";
    const me = console.live.callout.userId;
    return console.live.onPush(({ type, data }) => {
      const isHere = type === "message.created"
        ? data.message.room === id
        : type.startsWith("room.") && data.room?.id === id;
      if (isHere && type === "room.left" && data.user?.id === me) isOver.value = id; // from now on the room is refused
      else if (isHere && isOver.value !== id) void loaded.again();
    });
  }, [id]);
  if (loaded.error.value?.code === "not_member") return <p class="soft">{tc("chat.take_first")}</p>;
  return (
    <Shown loaded={loaded}>
      {({ room, messages }) => (
        <div class="chat">
          <p class="soft small">
            {room.members.map((member) => `${member.name} (${known("role", member.role)})`).join(" · ")}
            {room.state === "closed" && ` · ${tc("chat.closed")}`}
          </p>
          {messages.length
            ? <Messages messages={messages} me={console.live.callout.userId} />
            : <p class="soft">{tc("chat.empty")}</p>}
          <Writer console={console} room={room} again={loaded.again} />
        </div>
      )}
    </Shown>
  );
}

async function readChat(console: Console, id: string): Promise<Chat> {
  const params = { id };
  const [{ room }, { items }] = await Promise.all([
    console.api.call("GET /v1/rooms/{id}", { params }),
    console.api.call("GET /v1/rooms/{id}/messages", { params, query: { limit: 100 } }),
  ]);
  return { room, messages: [...items].reverse() };
}

function Messages({ messages, me }: { messages: Message[]; me: string }) {
  return (
    <ol class="messages" aria-live="polite">
      {messages.map((message) => (
        <li key={message.id} data-own={message.sender.id === me || undefined}>
          <span class="small soft">
            {message.sender.name} · {known("role", message.sender.role)} ·{" "}
            <time dateTime={message.at}>{timeOfDay(message.at)}</time>
          </span>
          <p>{message.erased ? tc("chat.erased") : message.text}</p>
          {message.files.length > 0 && <span class="small soft">{tc("chat.files", { n: message.files.length })}</span>}
        </li>
      ))}
    </ol>
  );
}

function Writer({ console, room, again }: { console: Console; room: Room; again: () => Promise<void> }) {
  const me = console.live.session.user.value!.id;
  const attempt = async (work: () => Promise<unknown>) => {
    busy.value = true;
    error.value = null;
    try {
      await work();
      await again();
    } catch (refusal) {
      error.value = errorOf(refusal);
    }
    busy.value = false;
  };
  if (room.state === "closed") return null;
  if (!room.members.some(({ id }) => id === me)) {
    const join = () => console.api.call("POST /v1/rooms/{id}/members", { params: { id: room.id }, body: { user: me } });
    return console.isOps
      ? (
        <>
          <ErrorNote error={error.value} />
          <Button icon="chat" busy={busy.value} onClick={() => attempt(join)}>{tc("chat.join")}</Button>
        </>
      )
      : <p class="soft small">{tc("chat.take_first")}</p>;
  }
  const say = async (event: SubmitEvent) => {
    event.preventDefault();
    const message = text.value.trim();
    if (!message) return;
    await attempt(() => console.live.request("say", { room: room.id, text: message, client_id: draft.value }));
    if (!error.value) text.value = "", draft.value = crypto.randomUUID();
  };
  return (
    <form class="say" onSubmit={say}>
      <ErrorNote error={error.value} />
      <Field label={tc("chat.message")}>
        {(a) => (
          <input
            {...a}
            value={text.value}
            maxLength={4000}
            onInput={(event) => (text.value = event.currentTarget.value, draft.value = crypto.randomUUID())}
          />
        )}
      </Field>
      <Button type="submit" kind="main" busy={busy.value}>{tc("chat.send")}</Button>
    </form>
  );
}
