"""The keys of a chat room, from what SQL has of it (a pure function)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from engine.events import rfc3339_of
from engine.rebuild.contents import Contents, KeyContent, StreamEntry
from engine.store import keys
from engine.types import RoomId, UserId, Zone

KEPT_MESSAGES = 200
"""How many messages of a room Redis has (``Messages.KEPT`` in lua/lib/messages.lua)."""
KEPT_CLIENT_IDS = 10_000
"""For how many messages Redis knows the ``client_id`` (``Messages.KEPT_SENT`` in lua/lib/messages.lua)."""
MAX_ADDRESSED = 64
"""The most members who are addressed one by one (``LargeRoom.MAX_ADDRESSED`` in lua/lib/large_room.lua)."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A present member. ``read_n`` is their read mark, ``noticed_n`` the room's last number when they were notified of
    unread messages last; 0: there is none.
    """

    id: UserId
    name: str
    role: str
    since: int
    from_n: int
    joined: bool
    read_n: int = 0
    noticed_n: int = 0


class RoomState(msgspec.Struct, frozen=True, kw_only=True):
    """What SQL has of a room. Times are in ms. ``holder`` is the technician of the job, ``ended_at`` when the job was
    done (None: it is not over), ``is_frozen`` whether a dispute is open. ``closes_ms`` is how long the room stays open
    afterwards, and ``technician_is_member`` whether the technician is in it, by the job's blueprint.
    ``was_large``: events were addressed to the room's own channel.
    """

    zone: Zone
    id: RoomId
    job: str
    blueprint_key: str
    state: str
    n: int
    opened_at: int
    closed_at: int | None
    mediator: str | None
    mediator_invited: bool
    members: Sequence[Member]
    holder: str
    ended_at: int | None
    is_frozen: bool
    closes_ms: int
    technician_is_member: bool
    was_large: bool


class SentMessage(msgspec.Struct, frozen=True):
    """A message. ``document`` is the message as JSON, ``digest`` recognizes a repeat of it."""

    n: int
    seq: int
    sender: str
    client_id: str
    document: str
    digest: str


def room_contents(room: RoomState, *, now_ms: int, window_ms: int) -> Contents:
    """Return the keys of ``room`` without its messages. A closed room is in the lists of its members until the log's
    window (ms) has passed.
    """
    users = sorted(f"user:{member.id}" for member in room.members)
    to = f"room:{room.id}" if len(users) > MAX_ADDRESSED else " ".join(users)
    record: dict[str, Any] = {
        "id": room.id,
        "job": room.job,
        "bp": room.blueprint_key,
        "state": room.state,
        "n": room.n,
        "opened": room.opened_at,
        "closed": "" if room.closed_at is None else room.closed_at,
        "technician": _technician_of(room),
        "mediator": room.mediator or "",
        "invited": "1" if room.mediator_invited else "",
        "count": len(users),
        "to": to,
        **({"ended": room.ended_at} if room.ended_at is not None and room.state == "open" else {}),
        **{f"m:{member.id}": _member_text(member) for member in room.members},
    }
    contents: Contents = {
        keys.room(room.zone, room.id): KeyContent("hash", {name: str(value) for name, value in record.items()})
    }
    marks = {str(member.id): str(member.read_n) for member in room.members if member.read_n}
    marks |= {f"noticed:{member.id}": str(member.noticed_n) for member in room.members if member.noticed_n}
    if marks:
        contents[keys.room_reads(room.zone, room.id)] = KeyContent("hash", marks)
    for member in room.members:
        key = keys.user_rooms(room.zone, member.id)
        contents[key] = KeyContent("zset", {str(room.id): str(member.from_n)})
    if room.was_large or len(users) > MAX_ADDRESSED:
        contents[keys.large_rooms(room.zone)] = KeyContent("set", frozenset({str(room.id)}))
    if tasks := _tasks(room, now_ms, window_ms):
        contents[keys.due_tasks(room.zone)] = KeyContent("zset", {name: str(at) for name, at in tasks.items()})
    return contents


def message_contents(room: RoomState, page: Sequence[SentMessage]) -> Contents:
    """Return what ``page``, messages of the room in order, adds to its keys."""
    entries = tuple(
        StreamEntry(f"{each.n}-0", ("seq", str(each.seq), "sender", each.sender, "data", each.document))
        for each in page
        if each.n > room.n - KEPT_MESSAGES
    )
    sent = {
        f"{each.sender}:{each.client_id}": f"{each.n} {each.seq} {each.digest}"
        for each in page
        if each.n > room.n - KEPT_CLIENT_IDS
    }
    dropped = max((each.seq for each in page if each.n <= room.n - KEPT_CLIENT_IDS), default=0)
    contents: Contents = {}
    if entries:
        contents[keys.room_messages(room.zone, room.id)] = KeyContent("stream", entries)
    if sent:
        contents[keys.room_sent(room.zone, room.id)] = KeyContent("hash", sent)
    if dropped:
        contents[keys.room(room.zone, room.id)] = KeyContent("hash", {"dropped": str(dropped)})
    return contents


def _member_text(member: Member) -> str:
    """Return a member in the format of lua/lib/room.lua."""
    name = msgspec.json.encode(member.name).decode()
    joined = "true" if member.joined else "false"
    return (
        f'{{"id":"{member.id}","name":{name},"role":"{member.role}","since":"{rfc3339_of(member.since)}"'
        f',"from_n":{member.from_n},"joined":{joined}}}'
    )


def _technician_of(room: RoomState) -> str:
    """Return the member who does the job, or who is asked alone to do it: the holder, or else the only technician."""
    technicians: Mapping[str, Member] = {member.id: member for member in room.members if member.role == "technician"}
    if not room.technician_is_member or not technicians:
        return ""
    if room.holder in technicians:
        return room.holder
    return max(technicians.values(), key=lambda member: (member.since, member.id)).id


def _tasks(room: RoomState, now_ms: int, window_ms: int) -> dict[str, int]:
    """Return the scheduled tasks of the room with their times (ms)."""
    tasks = {}
    if room.state != "open":
        tasks[f"room:{room.id}"] = (room.closed_at or now_ms) + window_ms
    elif room.ended_at is not None:
        closes_at = room.ended_at + room.closes_ms
        if not room.is_frozen or closes_at > now_ms:
            tasks[f"room:{room.id}"] = closes_at
    if any(room.n > max(member.read_n, member.from_n, member.noticed_n) for member in room.members):
        tasks[f"notify:{room.id}"] = now_ms
    return tasks
