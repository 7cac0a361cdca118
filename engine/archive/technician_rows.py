"""Write the state of technicians to SQL."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive.technician_projection import TechnicianChanges
from engine.sql.id_lists import read_among
from engine.sql.row_statement import RowStatement
from engine.types import Zone

_ADD_CHANGES = RowStatement(
    """
    INSERT INTO technician_states (technician, zone, online, works, accepted, asked, free_at)
    SELECT n.technician, n.zone, coalesce(n.online, s.online, false), coalesce(n.works, s.works, ''),
        n.accepted + coalesce(s.accepted, 0), n.asked + coalesce(s.asked, 0),
        CASE WHEN s.free_at > n.free_at THEN s.free_at ELSE n.free_at END
    FROM n LEFT JOIN technician_states AS s ON s.technician = n.technician AND s.zone = n.zone
    WHERE true
    ON CONFLICT (technician, zone) DO UPDATE SET online = excluded.online, works = excluded.works,
        accepted = excluded.accepted, asked = excluded.asked, free_at = excluded.free_at""",
    {
        "technician": "text",
        "zone": "text",
        "online": "boolean",
        "works": "text",
        "accepted": "bigint",
        "asked": "bigint",
        "free_at": "bigint",
    },
)


async def settle_holders(conn: AsyncConnection, changes: TechnicianChanges) -> None:
    """Read who held the jobs before the batch, and count the jobs that technicians got in it. Call this before the
    batch's jobs are written.
    """
    if not changes.unsettled:
        return
    jobs = list({change.job for change in changes.unsettled})
    rows = await read_among(conn, "SELECT id, technician FROM jobs WHERE id", jobs)
    changes.settle(dict(rows))


async def apply_rows(conn: AsyncConnection, zone: Zone, changes: TechnicianChanges) -> None:
    """Add ``changes`` to the rows of the technicians, in the transaction of the batch of events that caused them."""
    rows = [
        (technician, zone, change.online, change.works, change.accepted, change.asked, change.free_at)
        for technician, change in sorted(changes.by_id.items())
    ]
    await _ADD_CHANGES.run(conn, rows)
