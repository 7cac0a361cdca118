"""Write the counts of areas, in the transaction of the events that they count: each event is counted exactly once."""

from __future__ import annotations

from typing import Any

from sqlalchemy import update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive.demand_projection import COUNT_COLUMNS, DemandCounts
from engine.sql.demand_tables import demand_hours, demand_progress
from engine.sql.insert import Upsert, execute_for_rows
from engine.types import Zone


async def add_counts(conn: AsyncConnection, upsert: Upsert, zone: Zone, counts: DemandCounts) -> None:
    """Add ``counts`` to the counts of a zone in SQL."""

    def build() -> Any:
        new = upsert(demand_hours)
        sums = {name: demand_hours.c[name] + new.excluded[name] for name in COUNT_COLUMNS}
        keys = [column.name for column in demand_hours.primary_key.columns]
        return new.on_conflict_do_update(index_elements=keys, set_=sums)

    await execute_for_rows(conn, "add to demand_hours", counts.rows(zone), build)


async def move_progress(conn: AsyncConnection, upsert: Upsert, zone: Zone, before: int | None, after: int) -> bool:
    """Record that the events up to ``after`` are counted, if exactly those up to ``before`` were counted (None: no
    progress is recorded yet). Return whether this was so.
    """
    if before is None:
        first = upsert(demand_progress).values(zone=zone, seq=after).on_conflict_do_nothing()
        return bool((await conn.execute(first)).rowcount)
    here = (demand_progress.c.zone == zone) & (demand_progress.c.seq == before)
    return bool((await conn.execute(update(demand_progress).where(here).values(seq=after))).rowcount)
