"""Lists of chat rooms, the latest activity first: rooms that Redis has, joined to the closed ones that only SQL has.

A closed room leaves the lists in Redis after SQL has its closing. So a reader who reads Redis first misses no room. The
place of a room in a list is the time of the last message that the reader may read, or of the opening.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import msgspec
import structlog

from engine.archive import reader, room_reader
from engine.domain import archived_rooms, rooms
from engine.domain.job_history import MAX_LOG_EVENTS
from engine.domain.job_queries import Page
from engine.domain.zones import readable_zones
from engine.errors import NotFound, NotMember
from engine.events import Event, ms_of
from engine.sql.paging import check_limit, decode_cursor, encode_cursor
from engine.store import keys
from engine.store.scripts import Args
from engine.types import JobId, Principal, RoomId, Zone, room_of, zone_of
from engine.zone import log as zone_log

if TYPE_CHECKING:
    from engine.runtime import Engine

ROOMS_PER_READ = 50
"""How many rooms one script call reads for a list."""

SortKey = tuple[int, str]

log = structlog.get_logger(__name__)


class RoomQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A query for a list of rooms: the filters and the page."""

    job: str | None = None
    open: bool | None = None
    limit: int = 50
    cursor: str | None = None

    def matches(self, state: str) -> bool:
        """Return whether a room in this state belongs to the list."""
        return self.open is None or self.open == (state == "open")


class _ListedMessage(msgspec.Struct):
    at: str


class _ListedRoom(msgspec.Struct):
    """The members of a room's JSON by which a list is filtered and sorted."""

    id: RoomId
    state: str
    opened_at: str
    last: _ListedMessage | None = None

    @property
    def sort_key(self) -> SortKey:
        """Return the room's place in the list: the time (ms) of its last message or of its opening, and its id."""
        return ms_of(self.last.at if self.last else self.opened_at), self.id


class _RoomReference(msgspec.Struct):
    id: RoomId


class _MessageReference(msgspec.Struct):
    room: RoomId


class _RoomEventData(msgspec.Struct):
    """The members of an event's data that name a room."""

    room: _RoomReference | None = None
    message: _MessageReference | None = None


_room_event_decoder = msgspec.json.Decoder(_RoomEventData)
_listed_room_decoder = msgspec.json.Decoder(_ListedRoom)


class _FoundRooms:
    """The rooms that were found for a list, by their places in it. A room that is found both in Redis and in SQL is
    added once, as it was found first.
    """

    def __init__(self, query: RoomQuery, before: SortKey | None) -> None:
        self._query = query
        self._before = before
        self._places: dict[SortKey, bytes] = {}
        self.ids: set[str] = set()

    def add(self, room_id: str, place: SortKey, state: str, document: bytes) -> None:
        """Add a room unless it was read before, does not match the query or is on an earlier page."""
        if room_id in self.ids:
            return
        self.ids.add(room_id)
        if self._query.matches(state) and (self._before is None or place < self._before):
            self._places[place] = document

    def page(self, as_of: dict[str, dict[str, str | int]]) -> Page:
        """Return the page of the found rooms."""
        order, limit = sorted(self._places, reverse=True), self._query.limit
        after = encode_cursor(*order[limit - 1]) if len(order) > limit else None
        return Page([self._places[place] for place in order[:limit]], after, as_of)


async def list_rooms(engine: Engine, caller: Principal, query: RoomQuery) -> Page:
    """Return the rooms of which the caller is a member; to ops all rooms. ``query.job``: only the room of this job.

    Raises Invalid for a wrong limit or cursor, Unavailable if closed rooms are wanted and SQL cannot be read.
    """
    check_limit(query.limit)
    before = decode_cursor(query.cursor, tuple[int, str]) if query.cursor else None
    found = _FoundRooms(query, before)
    zones = readable_zones(engine)
    parts = await asyncio.gather(*(_add_rooms_of_zone(engine, caller, zone, query, before, found) for zone in zones))
    as_of: dict[str, dict[str, str | int]] = dict(zip(map(str, zones), parts, strict=True))
    if query.job is None and not caller.is_ops and query.open is not True:
        await _add_closed_rooms(engine, caller, query, before, found)
    page = found.page(as_of)
    if caller.is_ops and page.items:
        shown = [_listed_room_decoder.decode(document).id for document in page.items]
        for room in shown:
            engine.staff_reads.note("rooms_listed", caller, room)
        log.info("rooms_listed_by_staff", rooms=shown, user=caller.id, role=caller.role)
    return page


async def _add_rooms_of_zone(
    engine: Engine, caller: Principal, zone: Zone, query: RoomQuery, before: SortKey | None, found: _FoundRooms
) -> dict[str, str | int]:
    """Add the rooms that Redis has of a zone, and return the cursor up to which they are complete."""
    if query.job is None and caller.is_ops:
        return await _add_all_rooms(engine, caller, zone, query, before, found)
    head = await _log_head(engine, zone)
    if query.job is not None:
        await _add_room_of_job(engine, caller, zone, query.job, found)
    else:
        await _add_live_rooms(engine, caller, zone, await _live_room_ids(engine, caller, zone), found)
    return head


async def find_live(engine: Engine, caller: Principal, limit: int) -> list[bytes]:
    """Return the rooms of which the caller is a member and that Redis has: the open ones, and those that were closed
    lately. A closed zone is omitted if other zones are open.
    """
    found = _FoundRooms(RoomQuery(limit=limit), None)

    async def add_zone(zone: Zone) -> None:
        await _add_live_rooms(engine, caller, zone, await _live_room_ids(engine, caller, zone), found)

    await asyncio.gather(*map(add_zone, readable_zones(engine)))
    return found.page({}).items


async def _log_head(engine: Engine, zone: Zone) -> dict[str, str | int]:
    head = await zone_log.read_head(engine.store.read_connection, zone)
    return {"epoch": head.epoch, "seq": head.seq}


async def _live_room_ids(engine: Engine, caller: Principal, zone: Zone) -> list[str]:
    ids: list[bytes] = await engine.store.command("ZRANGE", keys.user_rooms(zone, caller.id), 0, -1)
    return [room_id.decode() for room_id in ids]


async def _add_live_rooms(
    engine: Engine, caller: Principal, zone: Zone, ids: Sequence[str], found: _FoundRooms
) -> None:
    """Add the rooms of ``ids`` that Redis has and that the caller may read."""
    for start in range(0, len(ids), ROOMS_PER_READ):
        args: Args = {"user": caller.id, "staff": int(caller.is_ops), "rooms": ids[start : start + ROOMS_PER_READ]}
        done = await engine.store.read(zone, "room_list", keys={"meta": keys.zone_meta(zone)}, args=args)
        for document in done.values:
            _add_room_document(document, found)


def _add_room_document(document: bytes, found: _FoundRooms) -> None:
    room = _listed_room_decoder.decode(document)
    found.add(room.id, room.sort_key, room.state, document)


async def _add_room_of_job(engine: Engine, caller: Principal, zone: Zone, job: str, found: _FoundRooms) -> None:
    if zone_of(job) == zone:
        try:
            _add_room_document(await rooms.read_room(engine, caller, room_of(JobId(job))), found)
        except (NotFound, NotMember):
            return


async def _add_closed_rooms(
    engine: Engine, caller: Principal, query: RoomQuery, before: SortKey | None, found: _FoundRooms
) -> None:
    """Add the caller's closed rooms from SQL. Some of them were found in Redis already."""
    count = query.limit + 1 + len(found.ids)
    for room in await room_reader.closed_rooms_of(engine.archive, caller.id, count, before):
        found.add(room.id, room.sort_key_of(caller.id), room.state, archived_rooms.view_room(room, caller.id))


async def _add_all_rooms(
    engine: Engine, caller: Principal, zone: Zone, query: RoomQuery, before: SortKey | None, found: _FoundRooms
) -> dict[str, str | int]:
    """Add the rooms of a zone, for ops, and return the cursor up to which they are complete.

    Redis has no list of all rooms. SQL has the rooms as of its checkpoint, and the events above the checkpoint name the
    rooms that have changed since. Each of them is then read from Redis.
    """
    known = await reader.checkpoint(engine.archive, zone)
    seq = known.seq if known else 0
    tail = await zone_log.read_range(engine.store.read_connection, zone, seq, MAX_LOG_EVENTS)
    changed = list(dict.fromkeys(_rooms_of_events(tail)))
    state = None if query.open is None else "open" if query.open else "closed"
    count = query.limit + 1 + len(changed)
    archived = await room_reader.rooms_of_all(engine.archive, zone, count, before, state=state)
    ids = list(dict.fromkeys([*changed, *(room.id for room in archived)]))
    await _add_live_rooms(engine, caller, zone, ids, found)
    for room in archived:
        found.add(room.id, room.sort_key_of(caller.id), room.state, archived_rooms.view_room(room, caller.id))
    return {"epoch": engine.store.zones[zone].epoch, "seq": tail[-1].seq if tail else seq}


def _rooms_of_events(events: Iterable[Event]) -> Iterator[RoomId]:
    """Yield the id of the room of each event about a room or a message."""
    for event in events:
        if event.type.startswith(("room.", "message.")):
            data = _room_event_decoder.decode(event.data)
            if data.message:
                yield data.message.room
            elif data.room:
                yield data.room.id
