"""Write the rows of chat rooms to SQL, and the seq up to which SQL has them."""

from __future__ import annotations

from sqlalchemy import bindparam, case, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive.room_projection import RoomRows
from engine.sql.insert import Upsert, insert_rows, upsert_rows
from engine.sql.room_tables import messages, room_members, room_progress, room_reads, rooms
from engine.types import Zone


async def apply_rows(conn: AsyncConnection, upsert: Upsert, rows: RoomRows) -> None:
    """Write ``rows`` to SQL, in the transaction of their batch."""
    await upsert_rows(conn, upsert, rooms, list(rows.rooms.values()), unchanged_columns=("active_at", "mediator"))
    await upsert_rows(conn, upsert, room_members, list(rows.members.values()))
    if rows.departures:
        mine = (room_members.c.room == bindparam("of_room")) & (room_members.c.user == bindparam("of_user"))
        left = update(room_members).where(mine).values(left_at=bindparam("left_at"))
        await conn.execute(left, list(rows.departures.values()))
    await _apply_mediation(conn, rows)
    await insert_rows(conn, messages, rows.messages)
    if rows.activity:
        of_room = rooms.c.id == bindparam("of_room")
        moved = update(rooms).where(of_room).values(n=bindparam("last_n"), active_at=bindparam("at"))
        await conn.execute(moved, list(rows.activity.values()))
    await upsert_rows(conn, upsert, room_reads, list(rows.reads.values()))
    if rows.closed:
        seen = case((rooms.c.n > room_members.c.from_n, rooms.c.active_at), else_=rooms.c.opened_at)
        last_seen = select(seen).where(rooms.c.id == room_members.c.room).scalar_subquery()
        of_closed = room_members.c.room.in_(sorted(rows.closed))
        await conn.execute(update(room_members).where(of_closed).values(active_at=last_seen))


async def _apply_mediation(conn: AsyncConnection, rows: RoomRows) -> None:
    """Write which mediator is a member of which room. Departures are written first, because a mediator who left may
    have taken another dispute of the room afterwards.
    """
    of_room = rooms.c.id == bindparam("of_room")
    if rows.invitations:
        invited = update(rooms).where(of_room).values(mediator_invited=bindparam("mediator_invited"))
        await conn.execute(invited, list(rows.invitations.values()))
    if rows.former_mediators:
        left = update(rooms).where(of_room & (rooms.c.mediator == bindparam("of_user"))).values(mediator=None)
        await conn.execute(left, list(rows.former_mediators.values()))
    if rows.mediators:
        taken = update(rooms).where(of_room).values(mediator=bindparam("mediator"))
        await conn.execute(taken, list(rows.mediators.values()))


async def move_progress(conn: AsyncConnection, upsert: Upsert, zone: Zone, before: int | None, after: int) -> bool:
    """Record that the tables have the events up to ``after``, if they had exactly those up to ``before`` (None: no
    progress is recorded yet). Return whether they had.
    """
    if before is None:
        first = upsert(room_progress).values(zone=zone, seq=after).on_conflict_do_nothing()
        return bool((await conn.execute(first)).rowcount)
    here = (room_progress.c.zone == zone) & (room_progress.c.seq == before)
    return bool((await conn.execute(update(room_progress).where(here).values(seq=after))).rowcount)
