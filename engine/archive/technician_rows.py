"""Write the state of technicians to SQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Text, bindparam, case, func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive.technician_projection import TechnicianChanges
from engine.sql.insert import Upsert
from engine.sql.schema import jobs
from engine.sql.technician_tables import technician_states
from engine.types import Zone


async def settle_holders(conn: AsyncConnection, changes: TechnicianChanges) -> None:
    """Read the holders of jobs before the batch. Call this before the batch's jobs are written."""
    if not changes.unsettled:
        return
    of_jobs = jobs.c.id.in_({change.job for change in changes.unsettled})
    rows = await conn.execute(select(jobs.c.id, jobs.c.technician).where(of_jobs))
    changes.settle({row.id: row.technician for row in rows})


async def apply_rows(conn: AsyncConnection, upsert: Upsert, zone: Zone, changes: TechnicianChanges) -> None:
    """Add ``changes`` to the rows of the technicians, in the transaction of their batch."""
    if not changes.by_id:
        return
    columns = technician_states.c
    new = upsert(technician_states).values(
        technician=bindparam("of_technician"),
        zone=zone,
        online=func.coalesce(bindparam("is_online", type_=Boolean), False),
        works=func.coalesce(bindparam("new_works", type_=Text), ""),
        accepted=bindparam("more_accepted"),
        asked=bindparam("more_asked"),
        free_at=bindparam("last_free_at"),
    )
    is_later = columns.free_at < new.excluded.free_at
    statement = new.on_conflict_do_update(
        index_elements=["technician", "zone"],
        set_={
            "online": func.coalesce(bindparam("is_online", type_=Boolean), columns.online),
            "works": func.coalesce(bindparam("new_works", type_=Text), columns.works),
            "accepted": columns.accepted + new.excluded.accepted,
            "asked": columns.asked + new.excluded.asked,
            "free_at": case((is_later, new.excluded.free_at), else_=columns.free_at),
        },
    )
    rows: list[dict[str, Any]] = [
        {
            "of_technician": technician,
            "is_online": change.online,
            "new_works": change.works,
            "more_accepted": change.accepted,
            "more_asked": change.asked,
            "last_free_at": change.free_at,
        }
        for technician, change in sorted(changes.by_id.items())
    ]
    await conn.execute(statement, rows)
