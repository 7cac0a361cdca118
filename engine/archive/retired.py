"""Which events were removed from SQL because of their age (engine/archive/retention.py removes them)."""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.sql.retention_tables import retirements
from engine.types import Zone


async def retired_seq(conn: AsyncConnection, zone: Zone) -> int:
    """Return the seq up to which events of the zone may be missing; 0 if none was retired."""
    columns = retirements.c
    query = select(func.max(columns.last_seq)).where(columns.zone == zone, columns.announced_seq.is_not(None))
    return (await conn.execute(query)).scalar() or 0
