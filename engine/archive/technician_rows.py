"""Write the state of technicians to SQL."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Boolean, Text, bindparam, case, false, func, literal_column, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive.technician_projection import TechnicianChanges
from engine.sql.insert import Upsert, execute_for_rows
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
    rows: list[dict[str, Any]] = [
        {
            "of_technician": technician,
            "of_zone": zone,
            "is_online": change.online,
            "new_works": change.works,
            "more_accepted": change.accepted,
            "more_asked": change.asked,
            "last_free_at": change.free_at,
        }
        for technician, change in sorted(changes.by_id.items())
    ]
    await execute_for_rows(conn, "change technician_states", rows, lambda: _upsert_of_changes(upsert))


def _upsert_of_changes(upsert: Upsert) -> Any:
    """Return the statement that adds one technician's changes to their row."""
    columns = technician_states.c
    new = upsert(technician_states).values(
        technician=bindparam("of_technician"),
        zone=bindparam("of_zone"),
        online=func.coalesce(bindparam("is_online", type_=Boolean), false()),
        works=func.coalesce(bindparam("new_works", type_=Text), literal_column("''")),
        accepted=bindparam("more_accepted"),
        asked=bindparam("more_asked"),
        free_at=bindparam("last_free_at"),
    )
    is_later = columns.free_at < new.excluded.free_at
    return new.on_conflict_do_update(
        index_elements=["technician", "zone"],
        set_={
            "online": func.coalesce(bindparam("is_online", type_=Boolean), columns.online),
            "works": func.coalesce(bindparam("new_works", type_=Text), columns.works),
            "accepted": columns.accepted + new.excluded.accepted,
            "asked": columns.asked + new.excluded.asked,
            "free_at": case((is_later, new.excluded.free_at), else_=columns.free_at),
        },
    )
