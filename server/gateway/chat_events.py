"""Which events of chat rooms a session may receive: live, and in a replay.

The script that appends an event of a room addresses it to those who are members at that moment. So the sessions of a
member receive the live event unchanged. A replay comes later: a user who left the room since then receives nothing of
it but their own `room.left`, and a member only what was said since they became a member. A session that receives the
event on another channel (ops who follow a zone) receives no text and no files of a message.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, NamedTuple

import msgspec

from engine.domain import rooms
from engine.errors import NotFound, NotMember
from engine.events import Event
from engine.rules.event_payloads import EventMessage, EventRoom, EventRoomMember
from engine.runtime import Engine
from engine.store import keys
from engine.types import Principal, Zone
from engine.zone import log
from server.gateway.hub import Hub, member_channel
from server.gateway.session import Session

MESSAGE_TYPE = "message.created"
LEFT_TYPE = "room.left"
CHAT_PREFIXES = ("message.", "room.")


class _User(msgspec.Struct):
    id: str = ""


class _ChatData(msgspec.Struct):
    room: EventRoom | None = None
    message: EventMessage | None = None
    user: _User = msgspec.field(default_factory=_User)


class _Members(msgspec.Struct):
    members: list[EventRoomMember]


_chat_decoder = msgspec.json.Decoder(_ChatData)


class Memberships(NamedTuple):
    """The chat rooms of a user in a zone, as they were at the log's ``seq``. ``from_n`` has for each room the number of
    a message: the user may read the messages above it.
    """

    from_n: dict[str, int]
    seq: int


def _room_of(data: _ChatData) -> str:
    return data.message.room if data.message is not None else data.room.id if data.room is not None else ""


async def _from_n_of(engine: Engine, caller: Principal, room: str) -> int | None:
    """Return the number above which the caller reads a room, in Redis or in SQL; None if they are no member."""
    try:
        document = await rooms.read_own_room(engine, caller, room)
    except (NotFound, NotMember):
        return None
    members = msgspec.json.decode(document, type=_Members).members
    return next((member.from_n for member in members if member.id == caller.id), None)


def is_chat(event: Event) -> bool:
    """Return whether the event is of a chat room."""
    return event.type.startswith(CHAT_PREFIXES)


def without_text(event: Event) -> Event:
    """Return the event of a message without its text and files."""
    data: dict[str, Any] = msgspec.json.decode(event.data)
    message = data.get("message", {})
    for member in ("text", "files"):
        message.pop(member, None)
    return msgspec.structs.replace(event, data=msgspec.json.encode(data))


def deliver_without_text(
    event: Event, hub: Hub, recipients: Iterable[Session], encode: Callable[[Event], bytes]
) -> list[Session]:
    """Deliver a message without its text to the recipients who are no members of its room, and return the members."""
    large_room = member_channel(event.to[0]) if event.to[0].startswith("room:") else ""
    members: list[Session] = []
    others: list[Session] = []
    for session in recipients:
        is_member = large_room in session.channels if large_room else is_addressed_to(event, session.caller)
        (members if is_member else others).append(session)
    if others:
        hub.deliver(others, encode(without_text(event)))
    return members


def is_addressed_to(event: Event, caller: Principal) -> bool:
    """Return whether the caller was a member of the event's room when a script addressed the event to each member."""
    return f"user:{caller.id}" in event.to


class ChatReplay:
    """The events of chat rooms among the events that one client is sent again, by their index among the frames."""

    def __init__(self, caller: Principal, follows_zone: bool) -> None:
        self._caller = caller
        self._follows_zone = follows_zone
        self._events: dict[int, Event] = {}
        self._rooms_read: set[str] = set()
        self.memberships: Memberships | None = None

    def unread_rooms(self) -> set[str]:
        """Return the rooms with replayed events for which the caller's memberships are not read yet."""
        noted = {_room_of(_chat_decoder.decode(event.data)) for event in self._events.values()}
        return noted if not noted <= self._rooms_read else set()

    async def read_memberships(self, engine: Engine, zone: Zone, room_ids: Collection[str]) -> None:
        """Read the rooms of which the caller is a member now. The head of the log is read first, so that a later change
        is found among the events above ``seq``. Rooms that were closed long ago are not among the user's rooms in Redis
        and are read one by one, but not for ops who follow the zone: they receive the events without the text.
        """
        head = await log.read_head(engine.store.read_connection, zone)
        row: list[bytes] = await engine.store.command(
            "ZRANGE", keys.user_rooms(zone, self._caller.id), 0, -1, "WITHSCORES"
        )
        from_n = {room.decode(): int(number) for room, number in zip(row[::2], row[1::2], strict=True)}
        for room in room_ids if not self._follows_zone else ():
            if room and room not in from_n and (number := await _from_n_of(engine, self._caller, room)) is not None:
                from_n[room] = number
        self._rooms_read = {*room_ids}
        self.memberships = Memberships(from_n, head.seq)

    def note_event(self, index: int, event: Event) -> None:
        """Note that the frame at ``index`` is an event of a chat room."""
        self._events[index] = event

    def decide(self) -> tuple[dict[int, Event], set[int]]:
        """Return the frames to send without text, by index, and the indices of the frames to drop."""
        assert self.memberships is not None
        decoded = {index: _chat_decoder.decode(event.data) for index, event in self._events.items()}
        from_n = self._present_rooms(self.memberships, decoded)
        redacted: dict[int, Event] = {}
        dropped: set[int] = set()
        for index, data in decoded.items():
            if self._is_for_member(data, from_n):
                continue
            event = self._events[index]
            if event.type == LEFT_TYPE and data.user.id == self._caller.id and is_addressed_to(event, self._caller):
                continue
            if not self._follows_zone:
                dropped.add(index)
            elif data.message is not None:
                redacted[index] = without_text(event)
        return redacted, dropped

    def _present_rooms(self, known: Memberships, decoded: Mapping[int, _ChatData]) -> dict[str, int]:
        """Return the rooms of the caller at the end of the replay: those that were read, and the changes since then."""
        from_n = dict(known.from_n)
        for index, data in decoded.items():
            event = self._events[index]
            if event.seq <= known.seq or data.room is None:
                continue
            if event.type == LEFT_TYPE and data.user.id == self._caller.id:
                from_n.pop(data.room.id, None)
            for member in data.room.members:
                if member.id == self._caller.id and event.type != LEFT_TYPE:
                    from_n[data.room.id] = member.from_n
        return from_n

    def _is_for_member(self, data: _ChatData, from_n: Mapping[str, int]) -> bool:
        if data.message is not None:
            return data.message.n > from_n.get(data.message.room, data.message.n)
        return data.room is not None and data.room.n >= from_n.get(data.room.id, data.room.n + 1)
