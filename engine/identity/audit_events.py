"""The ``audit.*`` events, which record commands that change only SQL, and which rooms staff read. They are appended to
the log of the zone ``main``, so that the audit tree has them.

A command adds a row for its event in its own SQL transaction, so that neither is committed without the other. The
outbox (engine/identity/outbox.py) appends the rows as events, in their order and once each, and tries again after an
error. The reads of staff are only in the memory of the process until they are appended, less than a second later,
because the reader must not wait for the log. The process also prints a line about each reading at once.

No client receives these events. Ops read them as entries of the audit trail (engine/domain/audit_trail.py).
"""

from __future__ import annotations

import itertools
import uuid
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.audit.staff_reads import StaffRead
from engine.clock import now_ms
from engine.errors import CalloutError
from engine.identity.log_append import append_event
from engine.sql.audit_tables import audit_outbox
from engine.types import Principal, TechnicianId

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_ROWS_PER_ROUND = 500
MAX_ROOMS_PER_EVENT = 200
_READ_NAMESPACE = uuid.UUID("6d0a3c1e-55d0-4a5e-9c55-0f6cf3a1b0d7")

log = structlog.get_logger(__name__)


def actor_of(caller: Principal) -> str:
    """Return ``role:id`` of the caller: the actor of the events that they cause."""
    return f"{caller.role}:{caller.id}"


async def add_row(conn: AsyncConnection, actor: str, action: str, entity: str, entity_id: str, **more: Any) -> None:
    """Add the event ``audit.<action>`` in the transaction of a command. ``more`` are further members of its data: no
    contact details, codes or texts of users.
    """
    data = msgspec.json.encode({"entity": entity, "id": entity_id, **more}).decode()
    row = {"key": str(uuid.uuid4()), "action": action, "actor": actor, "data": data, "at": now_ms()}
    await conn.execute(insert(audit_outbox).values(**row))


async def add_profile_change(
    conn: AsyncConnection, caller: Principal, technician: TechnicianId, given: Mapping[str, Any]
) -> None:
    """Add the event of a change of a technician's profile: the names of all fields, and the values of those that are no
    contact details.
    """
    values = {name: given[name] for name in ("zone", "capacity", "services") if name in given}
    actor, fields = actor_of(caller), sorted(given)
    await add_row(conn, actor, "technician_changed", "technician", technician, fields=fields, changed=values)


async def append_waiting(engine: Engine) -> int:
    """Append the waiting rows of commands and the waiting notes of what staff read. Return the number of events. Raises
    the errors of ``Store.run``: what was not appended waits for the next round.
    """
    return await _append_rows(engine) + await _append_staff_reads(engine)


async def _append_rows(engine: Engine) -> int:
    async with engine.archive.begin_read() as conn:
        query = select(audit_outbox).order_by(audit_outbox.c.id).limit(MAX_ROWS_PER_ROUND)
        rows = (await conn.execute(query)).all()
    done: list[str] = []
    try:
        for row in rows:
            await _append_audit_event(engine, row.action, row.data.encode(), row.actor, row.key)
            done.append(row.key)
    finally:
        if done:
            async with engine.archive.begin_write() as conn:
                # By key: SQLite gives the id of a deleted row to a later one.
                await conn.execute(delete(audit_outbox).where(audit_outbox.c.key.in_(done)))
    return len(done)


async def _append_staff_reads(engine: Engine) -> int:
    """Append one event for each room that a member of the staff read, and one for all rooms of the lists that they read
    in a minute.
    """
    waiting, lost = engine.staff_reads.take()
    if lost:
        log.error("staff_reads_lost", count=lost)
    count = 0
    groups = list(_group_reads(waiting))
    while groups:
        first = groups[0][0]
        rooms = [read.room for read in groups[0]]
        data = {"entity": "room", "id": rooms[0]} if first.action == "room_read" else {"entity": "room", "rooms": rooms}
        name = f"{first.action} {first.actor} {first.minute} {' '.join(rooms)}"
        try:
            await _append_audit_event(
                engine, first.action, msgspec.json.encode(data), first.actor, str(uuid.uuid5(_READ_NAMESPACE, name))
            )
        except CalloutError:
            engine.staff_reads.put_back([read for group in groups for read in group])
            raise
        del groups[0]
        count += 1
    return count


def _group_reads(reads: list[StaffRead]) -> Iterator[list[StaffRead]]:
    """Yield groups of readings by staff: each group becomes one event. Two servers that note the same readings give the
    event the same key.
    """
    for read in reads:
        if read.action == "room_read":
            yield [read]
    listed = sorted(read for read in reads if read.action != "room_read")
    for _, group in itertools.groupby(listed, lambda read: (read.action, read.actor, read.minute)):
        rooms = list(group)
        for start in range(0, len(rooms), MAX_ROOMS_PER_EVENT):
            yield rooms[start : start + MAX_ROOMS_PER_EVENT]


async def _append_audit_event(engine: Engine, action: str, data: bytes, actor: str, key: str) -> None:
    await append_event(engine, f"audit.{action}", channels="", data=data, actor=actor, key=key)
