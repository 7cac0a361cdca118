"""Notifications of unread chat messages, for members of a room who are absent.

The notifier gives each room in which something was said a scheduled task (lua/notification_append.lua), which outlives
every process. The task examines the members who have unread messages and were not notified of them:

- A member with a sign of life after the last message was there: they got it, or will ask for it.
- A member is absent after ``ABSENT_S`` without a connection. They are notified once until they read
  (lua/room_notify.lua), and the script checks their membership in the same step.
- Any other member may still be there; the room is examined again later.

Two things show a connection. The presence of the user (engine/identity/signs_of_life.py) has the last pong or request,
at any gateway. Their connection slots (engine/identity/sockets.py) have the open sockets and event streams; they matter
for a client whose pong is late, and for event streams, which send nothing. The slots of a gateway that died stay for a
while, so a slot without a sign of life counts only as long as a pong may take.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from engine.events import ms_of
from engine.identity import access, signs_of_life, sockets
from engine.store import keys
from engine.store.scripts import Args
from engine.types import RoomId, UserId, Zone, job_of_room, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

ABSENT_S = 30.0
"""After this time without a connection a member is absent."""
PONG_MARGIN_S = 5.0
"""How much later than the time for a pong a slot without a sign of life stops counting as a connection."""
MIN_WAIT_S = 1.0
NOTIFICATION_KIND = "message"

_MEMBER_PREFIX, _NOTICED_PREFIX = "m:", "noticed:"


class _Membership(msgspec.Struct):
    from_n: int


class _Sender(msgspec.Struct):
    name: str


class _Message(msgspec.Struct):
    sender: _Sender
    at: str


class Contact(NamedTuple):
    """When a user was last connected: ``seen`` is their last sign of life (ms of the zone's clock; 0 if none is known).
    ``has_slot`` is true if they have a connection slot, so a socket or event stream may be open.
    """

    seen: int
    has_slot: bool


async def notify_absent_members(engine: Engine, zone: Zone, entry: str, room: RoomId) -> None:
    """Run the scheduled task ``entry`` of a room: notify the members who are absent, and schedule another examination
    if others may still become absent.
    """
    read = engine.store.read_connection
    record, marks = await asyncio.gather(read.hgetall(keys.room(zone, room)), read.hgetall(keys.room_reads(zone, room)))
    n = int(record.get(b"n", 0))
    unread = _members_to_notify(record, marks, n)
    last = await _read_last_message(engine, zone, room) if unread else None
    notices: list[str | bytes] = []
    wait_ms: int | None = None
    if last is not None:
        absent, wait_ms = await _find_absent(engine, zone, unread, ms_of(last.at))
        notices = [part for user in absent for part in (user, _notification_data(room, last.sender.name))]
    names = {
        "meta": keys.zone_meta(zone),
        "room": keys.room(zone, room),
        "read": keys.room_reads(zone, room),
        "due": keys.due_tasks(zone),
        "log": keys.log(zone),
    }
    args: Args = {"entry": entry, "n": n, "wait_ms": "" if wait_ms is None else wait_ms, "notices": notices}
    await engine.store.run(zone, "room_notify", keys=names, args=args)


def _members_to_notify(record: Mapping[bytes, bytes], marks: Mapping[bytes, bytes], n: int) -> list[UserId]:
    """Return the members who have unread messages and were not notified since they last read."""
    found: list[UserId] = []
    for field, text in record.items():
        user = field.decode()
        if user.startswith(_MEMBER_PREFIX):
            user = user.removeprefix(_MEMBER_PREFIX)
            from_n = msgspec.json.decode(text, type=_Membership).from_n
            mark = max(int(marks.get(user.encode(), 0)), from_n)
            if n > mark >= int(marks.get(f"{_NOTICED_PREFIX}{user}".encode(), 0)):
                found.append(UserId(user))
    return found


async def _read_last_message(engine: Engine, zone: Zone, room: RoomId) -> _Message | None:
    entry = await engine.store.read_connection.last_entry(keys.room_messages(zone, room))
    return msgspec.json.decode(entry[b"data"], type=_Message) if entry else None


async def _find_absent(
    engine: Engine, zone: Zone, users: list[UserId], said_at: int
) -> tuple[list[UserId], int | None]:
    """Return those of ``users`` who are absent, and after how many ms the others must be examined again (None if they
    need not be). Users whose account is suspended or closed are left out.
    """
    inactive = await access.find_inactive(engine, users)
    active = [user for user in users if user not in inactive]
    now, contacts = await _read_time_and_contacts(engine, zone, active)
    pong_s = engine.settings.ping_s + engine.settings.pong_s + PONG_MARGIN_S
    absent: list[UserId] = []
    waits: list[float] = []
    for user in active:
        contact = contacts[user]
        if contact.seen >= said_at:
            continue
        wait = contact.seen + (max(pong_s, ABSENT_S) if contact.has_slot else ABSENT_S) * 1000 - now
        if wait <= 0:
            absent.append(user)
        else:
            waits.append(max(wait, MIN_WAIT_S * 1000))
    return absent, round(min(waits)) if waits else None


async def _read_time_and_contacts(engine: Engine, zone: Zone, users: list[UserId]) -> tuple[int, dict[UserId, Contact]]:
    """Return the zone's present time (ms), and when each user was last connected, by the same clock."""
    read = engine.store.read_connection
    time_ms, clock, signs, slots = await asyncio.gather(
        read.time_ms(),
        read.hmget(keys.zone_meta(zone), ["offset", "skew"]),
        signs_of_life.read_signs(engine, users),
        sockets.find_last_active(engine, users),
    )
    offset, skew = (int(value or 0) for value in clock)
    seen = {user: sign + offset for user, sign in signs.items()}
    contacts = {user: Contact(max(seen.get(user, 0), slots.get(user, 0)), user in slots) for user in users}
    return time_ms + offset + skew, contacts


def _notification_data(room: RoomId, sender: str) -> bytes:
    """Return the data of a notification. It has no text of a message: a push shows it on a locked screen."""
    texts = {"kind": NOTIFICATION_KIND, "title": "New message", "body": f"{sender} wrote to you."}
    return msgspec.json.encode({"id": new_id("ntf"), **texts, "job": job_of_room(room), "room": room})
