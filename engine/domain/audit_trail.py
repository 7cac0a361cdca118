"""The audit trail, which shows ops who did what. Its entries are the archived events, each with its leaf of the audit
tree.

The list begins with the newest entry. A filter that few events match would read the whole archive for one page;
therefore a page examines a bounded part of it, and may have fewer entries than its limit although there are more.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import Select, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive import apply
from engine.errors import NotFound
from engine.events import rfc3339_of
from engine.roles import OPS, require_role
from engine.sql.audit_tables import audit
from engine.sql.paging import Slice, check_limit, decode_cursor, encode_cursor
from engine.sql.schema import events
from engine.types import Principal, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

EVENTS_PER_WINDOW = 2_000
MAX_WINDOWS = 10
"""A page examines at most this many windows, of that many events each."""
WILDCARD_SUFFIX = ".*"
_MAX_SEQ = 2**62


class AuditQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A filter for the audit trail. ``action`` is an event type, or the beginning of one with ``.*``; ``entity`` and
    ``id`` are what the event is about. ``since`` ≤ time < ``until``.
    """

    zone: Zone
    action: str | None = None
    entity: str | None = None
    id: str | None = None
    actor: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    limit: int = 50
    cursor: str | None = None

    @property
    def is_of_one_job(self) -> bool:
        """Return whether the query is about one job. An index of the archive then finds all its events."""
        return self.entity == "job" and self.id is not None


class AuditEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One entry: when, which event, about what, by whom. ``leaf`` is the leaf of the audit tree in hexadecimal; it is
    None for an event that was archived before its zone had a tree.
    """

    seq: int
    at: str
    action: str
    entity: str
    id: str | None
    actor: str
    leaf: str | None

    def matches(self, query: AuditQuery) -> bool:
        """Return whether the entry is about the entity and the id that the query names. A query may name neither."""
        return query.entity in (None, self.entity) and query.id in (None, self.id)


class _IdReference(msgspec.Struct):
    id: str = ""


class _MessageReference(msgspec.Struct):
    room: str = ""


class _EventSubject(msgspec.Struct):
    """The members of an event's data that name what the event is about."""

    entity: str = ""
    id: str = ""
    user: _IdReference | str | None = None
    room: _IdReference | str | None = None
    technician: _IdReference | None = None
    payout: _IdReference | None = None
    message: _MessageReference | str | None = None


_subject_decoder = msgspec.json.Decoder(_EventSubject)


async def list_entries(engine: Engine, caller: Principal, query: AuditQuery) -> Slice[AuditEntry]:
    """Return the entries of a zone that match ``query``, the newest first. Raises Forbidden, NotFound, Invalid."""
    require_role(caller, OPS)
    if query.zone not in engine.store.zones:
        raise NotFound
    limit = check_limit(query.limit)
    lowest = await apply.last_seq_before(engine.archive, query.zone, _to_unix_ms(query.since)) if query.since else 0
    before_until = (
        await apply.last_seq_before(engine.archive, query.zone, _to_unix_ms(query.until)) if query.until else _MAX_SEQ
    )
    found: list[AuditEntry] = []
    async with engine.archive.begin_read() as conn:
        highest = min(await _highest_seq(conn, query), before_until)
        for _ in range(MAX_WINDOWS):
            if highest <= lowest:
                return Slice(found)
            after = lowest if query.is_of_one_job else max(lowest, highest - EVENTS_PER_WINDOW)
            for row in (await conn.execute(_select_window(query, after, highest))).mappings():
                entry = entry_of_row(row)
                if not entry.matches(query):
                    continue
                if len(found) == limit:
                    return Slice(found, encode_cursor(found[-1].seq))
                found.append(entry)
            highest = after
    return Slice(found, encode_cursor(highest + 1) if highest > lowest else None)


async def _highest_seq(conn: AsyncConnection, query: AuditQuery) -> int:
    """Return the highest seq that a page may contain."""
    if query.cursor is not None:
        (before,) = decode_cursor(query.cursor, tuple[int])
        return int(before) - 1
    columns = events.c
    newest = select(func.max(columns.seq)).where(columns.zone == query.zone)
    return (await conn.execute(newest)).scalar() or 0


def _select_window(query: AuditQuery, after: int, last: int) -> Select[Any]:
    columns = events.c
    names = (columns.seq, columns.at, columns.type, columns.actor, columns.job, columns.data, audit.c.leaf)
    joined = events.outerjoin(audit, (audit.c.zone == columns.zone) & (audit.c.seq == columns.seq))
    rows = select(*names).select_from(joined)
    rows = rows.where(columns.zone == query.zone, columns.seq > after, columns.seq <= last)
    if query.action is not None and query.action.endswith(WILDCARD_SUFFIX):
        rows = rows.where(columns.type.startswith(query.action[:-1], autoescape=True))
    elif query.action is not None:
        rows = rows.where(columns.type == query.action)
    if query.is_of_one_job:
        rows = rows.where(columns.job == query.id)
    if query.actor is not None:
        rows = rows.where(columns.actor == query.actor)
    if query.since is not None:
        rows = rows.where(columns.at >= _to_unix_ms(query.since))
    if query.until is not None:
        rows = rows.where(columns.at < _to_unix_ms(query.until))
    return rows.order_by(columns.seq.desc())


def _to_unix_ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)


def entry_of_row(row: Mapping[Any, Any]) -> AuditEntry:
    """Return the audit entry of a row, which is an archived event with its leaf of the audit tree."""
    entity, about = _subject_of(row)
    leaf = bytes(row["leaf"]).hex() if row["leaf"] is not None else None
    at, actor = rfc3339_of(row["at"]), row["actor"]
    return AuditEntry(seq=row["seq"], at=at, action=row["type"], entity=entity, id=about, actor=actor, leaf=leaf)


def _subject_of(row: Mapping[Any, Any]) -> tuple[str, str | None]:
    """Return what an archived event is about, and its id: the job of the event, the entity that an ``audit.*`` event
    names, or the room, technician, user or payout in the event's data. For any other event, return the first part of
    its type and None.
    """
    if row["job"]:
        return "job", row["job"]
    beginning = str(row["type"]).partition(".")[0]
    try:
        data = _subject_decoder.decode(row["data"])
    except msgspec.DecodeError:
        return beginning, None
    if beginning == "audit" and data.entity:
        return data.entity, data.id or None
    if isinstance(data.message, _MessageReference) and data.message.room:
        return "room", data.message.room
    for entity in ("room", "technician", "user", "payout"):
        named = getattr(data, entity)
        if named := named.id if isinstance(named, _IdReference) else named:
            return entity, named
    return beginning, None
