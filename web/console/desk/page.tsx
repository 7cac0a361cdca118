// The desk: disputes by age, and the chats of jobs with unread messages first. Whoever takes a dispute is its mediator.

import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import type { CalloutError } from "../../shared/api.ts";
import { known } from "../../shared/i18n/i18n.ts";
import { ago } from "../../shared/time.ts";
import { Button, Card, Chip, Empty, ErrorNote, LinkButton, Tabs } from "../../shared/ui/parts.tsx";
import { toast } from "../../shared/ui/toast.tsx";
import type { Dispute, Room } from "../../shared/schema.ts";
import type { Console } from "../data/console.ts";
import { tc } from "../i18n/texts.ts";
import { RoomView } from "../job/chat.tsx";
import { useListKeys } from "../keys.ts";
import { errorOf, useLoaded } from "../load.ts";
import { jobPath, pathOf } from "../nav.ts";
import { Shown } from "../shown.tsx";
import { ResolveForm } from "./resolve.tsx";

const tab = signal<"disputes" | "chats">("disputes");
const chosen = signal("");
const busy = signal("");
const error = signal<CalloutError | null>(null);
const CHANGES = /^(job\.(disputed|resolved)|mediator\.|room\.|message\.)/;
const WAIT_MS = 300;

export function DeskPage({ console }: { console: Console }) {
  const loaded = useLoaded(() => readDesk(console), []);
  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const end = console.live.onPush(({ type }) => {
      if (!CHANGES.test(type)) return;
      clearTimeout(timer);
      timer = setTimeout(() => void loaded.again(), WAIT_MS);
    });
    return () => (clearTimeout(timer), end());
  }, []);
  return (
    <div class="page desk">
      <header class="page-head">
        <h1>{tc("nav.desk")}</h1>
        <span class="grow" />
        <Tabs
          label={tc("nav.desk")}
          tabs={[["disputes", tc("desk.disputes")], ["chats", tc("desk.chats")]] as const}
          chosen={tab.value}
          choose={(name) => (tab.value = name, chosen.value = "")}
        />
      </header>
      <Shown loaded={loaded}>
        {({ disputes, rooms }) =>
          tab.value === "disputes"
            ? <Disputes console={console} disputes={disputes} again={loaded.again} />
            : <Chats console={console} rooms={rooms} />}
      </Shown>
    </div>
  );
}

async function readDesk(console: Console): Promise<{ disputes: Dispute[]; rooms: Room[] }> {
  const [disputes, { items }] = await Promise.all([
    console.api.list("GET /v1/disputes", { limit: 400 }),
    console.api.call("GET /v1/rooms", { query: { open: true, limit: 100 } }),
  ]);
  disputes.sort((a, b) => a.opened_at.localeCompare(b.opened_at));
  const rooms = [...items].sort((a, b) => (b.unread ?? 0) - (a.unread ?? 0) || timeOf(b).localeCompare(timeOf(a)));
  return { disputes, rooms };
}

function timeOf(room: Room): string {
  return room.last?.at ?? room.opened_at;
}

function Disputes({ console, disputes, again }: { console: Console; disputes: Dispute[]; again: () => Promise<void> }) {
  const at = disputes.findIndex(({ id }) => id === chosen.value);
  useListKeys(disputes.length, at, (to) => (chosen.value = disputes[to]?.id ?? ""));
  if (!disputes.length) return <Empty icon="check" title={tc("desk.no_disputes")}>{tc("desk.no_disputes_text")}</Empty>;
  const present = disputes[at] ?? disputes[0];
  return (
    <div class="two">
      <ul class="list" aria-label={tc("desk.disputes")}>
        {disputes.map((dispute) => (
          <li key={dispute.id}>
            <button type="button" aria-pressed={dispute.id === present.id} onClick={() => (chosen.value = dispute.id)}>
              <span class="row">
                <Chip state={dispute.mediator ? "assigned" : "danger"}>
                  {dispute.mediator ? mediatorName(console, dispute) : tc("desk.nobody")}
                </Chip>
                <span class="soft small number">{ago(dispute.opened_at)}</span>
              </span>
              <span>{dispute.reason}</span>
            </button>
          </li>
        ))}
      </ul>
      <OneDispute key={present.id} console={console} dispute={present} again={again} />
    </div>
  );
}

function mediatorName(console: Console, dispute: Dispute): string {
  const { id } = dispute.mediator!;
  return id === console.live.callout.userId
    ? tc("desk.me")
    : console.people.name(id) === id
    ? known("role", dispute.mediator!.role)
    : console.people.name(id);
}

function OneDispute({ console, dispute, again }: { console: Console; dispute: Dispute; again: () => Promise<void> }) {
  const job = useLoaded(() => console.jobs.read(dispute.job), [dispute.job]);
  const isMine = dispute.mediator?.id === console.live.callout.userId;
  const take = async () => {
    busy.value = dispute.id;
    error.value = null;
    try {
      await console.api.call("POST /v1/disputes/{id}/take", { params: { id: dispute.id }, body: {} });
      toast(tc("desk.taken"));
      await again();
    } catch (refusal) {
      error.value = errorOf(refusal);
    }
    busy.value = "";
  };
  return (
    <div class="stack">
      <Card
        title={dispute.reason}
        action={
          <LinkButton icon="list" href={console.isOps ? jobPath(dispute.job) : pathOf("desk", dispute.job)}>
            {tc("live.open_job")}
          </LinkButton>
        }
      >
        <div class="stack">
          <p class="soft">
            {tc("desk.opened_by", { role: known("role", dispute.by.role), age: ago(dispute.opened_at) })}
          </p>
          <ErrorNote error={error.value} />
          {!isMine && (console.isOps || !dispute.mediator) && (
            <Button
              kind={dispute.mediator ? "plain" : "main"}
              icon="user"
              busy={busy.value === dispute.id}
              onClick={take}
            >
              {tc(dispute.mediator ? "desk.take_over" : "desk.take")}
            </Button>
          )}
          {isMine && <ResolveForm console={console} dispute={dispute} done={again} />}
        </div>
      </Card>
      {console.isOps || isMine
        ? (
          <Shown loaded={job}>
            {(read) =>
              read.room
                ? (
                  <Card title={tc("tab.chat")}>
                    <RoomView key={`${read.room} ${isMine}`} console={console} id={read.room} />
                  </Card>
                )
                : null}
          </Shown>
        )
        : <p class="soft">{tc(dispute.mediator ? "desk.of_another" : "chat.take_first")}</p>}
    </div>
  );
}

function Chats({ console, rooms }: { console: Console; rooms: Room[] }) {
  const at = rooms.findIndex(({ id }) => id === chosen.value);
  useListKeys(rooms.length, at, (to) => (chosen.value = rooms[to]?.id ?? ""));
  if (!rooms.length) {
    return (
      <Empty icon="chat" title={tc("desk.no_chats")}>
        {tc(console.isOps ? "desk.no_chats_text" : "desk.no_chats_mediator")}
      </Empty>
    );
  }
  const present = rooms[at] ?? rooms[0];
  return (
    <div class="two">
      <ul class="list" aria-label={tc("desk.chats")}>
        {rooms.map((room) => (
          <li key={room.id}>
            <button type="button" aria-pressed={room.id === present.id} onClick={() => (chosen.value = room.id)}>
              <span class="row">
                <strong class="grow">{room.members.map(({ name }) => name).join(", ")}</strong>
                {!!room.unread && (
                  <Chip state="assigned">
                    <span class="number">{tc("desk.unread", { n: room.unread })}</span>
                  </Chip>
                )}
                {room.mediator_invited && <Chip state="danger">{tc("desk.invited")}</Chip>}
              </span>
              <span class="soft small">
                {room.last ? `${room.last.sender.name}: ${room.last.text}` : tc("chat.empty")}
              </span>
              <span class="soft small number">{ago(timeOf(room))}</span>
            </button>
          </li>
        ))}
      </ul>
      <Card
        title={tc("tab.chat")}
        action={console.isOps && <LinkButton icon="list" href={jobPath(present.job)}>{tc("live.open_job")}</LinkButton>}
      >
        <RoomView key={present.id} console={console} id={present.id} />
      </Card>
    </div>
  );
}
