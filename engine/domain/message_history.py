"""Pages of a room's messages, which begin in Redis and continue in SQL without a hole.

Redis has the newest messages of a room, from its lowest number on, and removes only what is archived. Therefore a
reader that reads Redis first finds in SQL every message below that lowest number, even if messages are written,
archived or removed in between.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from engine.archive import room_reader
from engine.domain import archived_rooms, rooms
from engine.domain.job_queries import Page
from engine.domain.rooms import parse_room_id
from engine.errors import FieldError, Invalid, NotFound, Unavailable
from engine.sql.paging import check_limit, decode_cursor, encode_cursor
from engine.store import keys
from engine.store.scripts import Args
from engine.types import Principal, RoomId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine


class MessageQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A page of a room's messages: those below ``before``, the newest first, or those above ``after``, the oldest
    first. Without both, the newest.
    """

    before: int | None = None
    after: int | None = None
    limit: int = 50
    cursor: str | None = None

    def with_place(self) -> MessageQuery:
        """Return the query with its cursor replaced by the ``before`` or ``after`` that the cursor contains. Raises
        Invalid for a wrong cursor, and for both ``before`` and ``after``.
        """
        if self.before is not None and self.after is not None:
            raise Invalid(errors=[FieldError("/before", "Not together with after")])
        if self.cursor is None:
            return self
        side, n = decode_cursor(self.cursor, tuple[Literal["before", "after"], int])
        return MessageQuery(limit=self.limit, **{side: n})


class _LivePart(NamedTuple):
    """What Redis has of a page: ``messages`` as JSON. The reader may read the messages above ``from_n``; SQL alone has
    those below ``lowest``. ``seq`` is a seq of the log up to which the part is current.
    """

    from_n: int
    lowest: int
    is_member: bool
    messages: list[bytes]
    seq: int


class _NumberedMessage(msgspec.Struct):
    n: int


_number_decoder = msgspec.json.Decoder(_NumberedMessage)


async def list_messages(engine: Engine, caller: Principal, room_id: str, query: MessageQuery) -> Page:
    """Return a page of a room's messages as JSON. A member receives those above their ``from_n``; ops all.

    Raises NotFound, NotMember, Invalid for a wrong limit or cursor and for both ``before`` and ``after``, Unavailable
    if older messages are wanted and SQL cannot be read.
    """
    query, limit = query.with_place(), check_limit(query.limit)
    zone, room = parse_room_id(room_id)
    part = await _read_live_part(engine, caller, zone, room, query)
    rooms.record_staff_read(engine, caller, room, is_member=part.is_member)
    place = None
    if query.after is None:
        found = await _collect_older_messages(engine, zone, room, part, query.before, limit)
        if found and (last := _number_of(found[-1])) > part.from_n + 1:
            place = encode_cursor("before", last)
    else:
        found = await _collect_newer_messages(engine, zone, room, part, query.after, limit + 1)
        if len(found) > limit:
            place = encode_cursor("after", _number_of(found[limit - 1]))
    return Page(found[:limit], place, {zone: {"epoch": engine.store.zones[zone].epoch, "seq": part.seq}})


def _number_of(message: bytes) -> int:
    return _number_decoder.decode(message).n


async def _read_live_part(
    engine: Engine, caller: Principal, zone: Zone, room: RoomId, query: MessageQuery
) -> _LivePart:
    """Return the part of a page that Redis has, with one message more than the page's limit. The part has no messages
    if only SQL has the room.
    """
    names = {**rooms.room_keys(zone, room), "messages": keys.room_messages(zone, room)}
    args: Args = {
        "user": caller.id,
        "staff": int(caller.is_ops),
        "above": query.after or 0,
        "below": "" if query.before is None else query.before,
        "limit": query.limit + 1,
        "oldest": int(query.after is not None),
    }
    try:
        done = await engine.store.read(zone, "message_list", keys=names, args=args)
    except NotFound:
        found = await archived_rooms.read_room(engine, caller, room, is_staff=caller.is_ops)
        from_n, seq = archived_rooms.from_n_of(found, caller.id), engine.store.zones[zone].seq
        return _LivePart(from_n, found.n + 1, caller.id in found.members, [], seq)
    from_n_text, lowest, is_member, *messages = done.values
    return _LivePart(int(from_n_text), int(lowest), is_member == b"1", messages, done.seq)


async def _collect_older_messages(
    engine: Engine, zone: Zone, room: RoomId, part: _LivePart, before: int | None, count: int
) -> list[bytes]:
    """Return at most ``count`` messages below ``before`` (None: the newest), the newest first: those of ``part``, which
    Redis has, then the older ones from SQL. Raises Unavailable.
    """
    below, missing = part.lowest if before is None else min(part.lowest, before), count - len(part.messages)
    span = min(missing, below - part.from_n - 1)
    if span <= 0:
        return part.messages[:count]
    older = await room_reader.messages_before(engine.archive, room, below, part.from_n, missing)
    await _check_missing_messages(engine, zone, span - len(older))
    return [*part.messages, *older]


async def _collect_newer_messages(
    engine: Engine, zone: Zone, room: RoomId, part: _LivePart, after: int, count: int
) -> list[bytes]:
    """Return at most ``count`` messages above ``after``, the oldest first: those from SQL, then the newer ones of
    ``part``, which Redis has. Raises Unavailable.
    """
    above = max(after, part.from_n)
    span = min(count, part.lowest - above - 1)
    if span <= 0:
        return part.messages
    older = await room_reader.messages_after(engine.archive, room, above, part.lowest, count)
    await _check_missing_messages(engine, zone, span - len(older))
    return [*older, *part.messages][:count]


async def _check_missing_messages(engine: Engine, zone: Zone, missing: int) -> None:
    """Raise Unavailable if messages are missing because SQL does not have them yet. Otherwise the database refused
    them, and they are in quarantine.
    """
    if missing > 0 and not await room_reader.has_every_message(engine.archive, zone):
        raise Unavailable("The archive of the rooms is being completed")
