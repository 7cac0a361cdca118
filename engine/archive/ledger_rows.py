"""Write the entries of the ledger in the transaction of their events, so that each is written exactly once."""

from __future__ import annotations

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive.ledger_projection import LedgerRows, entry_rows, line_rows
from engine.events import ms_of
from engine.sql.insert import Upsert, insert_rows
from engine.sql.ledger_tables import ledger_entries, ledger_lines, ledger_progress, payout_events, payouts
from engine.types import Zone

CAUSES_PER_QUERY = 500


async def apply_rows(conn: AsyncConnection, upsert: Upsert, zone: Zone, rows: LedgerRows) -> None:
    """Insert the entries whose cause is new, and write the statuses of payouts. The lines of an entry are inserted
    before the entry, as the triggers of engine/sql/ledger_tables.py require.
    """
    if not rows.entries and not rows.payouts:
        return
    known = await _known_causes(conn, [entry.cause for _, entry in rows.entries])
    new = LedgerRows()
    for seq, entry in rows.entries:
        if entry.cause not in known:
            known.add(entry.cause)
            new.entries.append((seq, entry))
    await insert_rows(conn, ledger_lines, line_rows(zone, new))
    await insert_rows(conn, ledger_entries, entry_rows(zone, new))
    await _note_payouts(conn, upsert, rows)


async def _known_causes(conn: AsyncConnection, causes: list[str]) -> set[str]:
    found: set[str] = set()
    for start in range(0, len(causes), CAUSES_PER_QUERY):
        here = ledger_entries.c.cause.in_(causes[start : start + CAUSES_PER_QUERY])
        found |= set((await conn.execute(select(ledger_entries.c.cause).where(here))).scalars())
    return found


async def _note_payouts(conn: AsyncConnection, upsert: Upsert, rows: LedgerRows) -> None:
    """Record in the rows of payouts that their events are archived. A database that was restored to a state before a
    payout gets the payout back from its events, so that it is not paid twice.
    """
    for seq, payout in rows.payouts:
        names = ("id", "technician", "amount", "currency", "reference", "status", "test")
        row = {name: getattr(payout, name) for name in names}
        new = upsert(payouts).values(created_at=ms_of(payout.at), **row)
        await conn.execute(new.on_conflict_do_nothing())
        if payout.status != "requested":
            change = update(payouts).where(payouts.c.id == payout.id)
            await conn.execute(change.values(status=payout.status, test=payout.test))
        same = (payout_events.c.payout == payout.id) & (payout_events.c.status == payout.status)
        await conn.execute(update(payout_events).where(same, payout_events.c.seq.is_(None)).values(seq=seq))


async def move_progress(conn: AsyncConnection, upsert: Upsert, zone: Zone, before: int | None, after: int) -> bool:
    """Record that the ledger has the events up to ``after``, if it had exactly those up to ``before`` (None: no
    progress is recorded yet). Return whether this was so.
    """
    if before is None:
        first = upsert(ledger_progress).values(zone=zone, seq=after).on_conflict_do_nothing()
        return bool((await conn.execute(first)).rowcount)
    here = (ledger_progress.c.zone == zone) & (ledger_progress.c.seq == before)
    return bool((await conn.execute(update(ledger_progress).where(here).values(seq=after))).rowcount)
