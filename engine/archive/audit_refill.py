"""Add archived events that are missing in a zone's audit tree. They are missing after an archiver of an older release,
which wrote no trees, and after the database was restored to an older state.
"""

from __future__ import annotations

import structlog
from sqlalchemy import select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.audit import leaves, proofs, trees
from engine.audit.leaves import EntryFields
from engine.audit.signed_note import Head
from engine.audit.trees import TreeState
from engine.clock import now_ms
from engine.sql.audit_tables import audit_holes
from engine.sql.database import Archive
from engine.sql.insert import insert_rows
from engine.sql.schema import deployment
from engine.types import Zone

PAGE_SIZE = 1_000
"""How many leaves one transaction appends."""

log = structlog.get_logger(__name__)


async def refill(archive: Archive, zone: Zone, archived_seq: int) -> None:
    """Append to the zone's tree the archived events up to ``archived_seq`` that it does not contain yet. A zone without
    a tree stays without one: its tree begins with the next event. Raises the same errors as ``Archive.begin_write``,
    and TreeChanged.
    """
    while True:
        async with archive.begin_read() as conn:
            state = await trees.read_state(conn, zone)
        if state is None or state.next_seq > archived_seq:
            return
        last = min(state.next_seq + PAGE_SIZE - 1, archived_seq)
        async with archive.begin_write() as conn:
            entries = await trees.read_entries(conn, zone, state.next_seq - 1, last)
            await append_with_holes(conn, zone, entries, state.next_seq, last)


async def append_with_holes(
    conn: AsyncConnection, zone: Zone, entries: list[EntryFields], first_seq: int, last_seq: int
) -> None:
    """Append the seqs from ``first_seq`` to ``last_seq`` to the zone's tree. A seq without an entry is recorded as a
    hole: an event that was accepted as lost. Also called when an operator accepts that a log has lost events.
    """
    present = {entry[0] for entry in entries}
    missing = [seq for seq in range(first_seq, last_seq + 1) if seq not in present]
    await trees.append_entries(conn, zone, sorted([*entries, *map(leaves.hole_entry, missing)]))
    spans: list[tuple[int, int]] = []
    for seq in missing:
        if spans and spans[-1][1] == seq - 1:
            spans[-1] = (spans[-1][0], seq)
        else:
            spans.append((seq, seq))
    if spans:
        log.error("audit_hole", zone=zone, spans=spans)
    rows = [{"zone": zone, "first_seq": first, "last_seq": last, "at": now_ms()} for first, last in spans]
    await insert_rows(conn, audit_holes, rows)


async def begin_tree_if_restored(archive: Archive, zone: Zone, published: Head, archived_seq: int) -> bool:
    """Begin a new tree, whose first leaf is the published head, if the database does not contain that head: it was
    restored to an older state. ``archived_seq`` is the zone's checkpoint. Return whether a tree was begun.

    A head of another installation or zone changes nothing. Raises the same errors as ``Archive.begin_write``.
    """
    async with archive.begin_read() as conn:
        own = (await conn.execute(select(deployment.c.id))).scalar()
        if (published.deployment, published.zone) != (own, zone):
            return False
        state = await trees.read_state(conn, zone)
        if state and await _contains(conn, zone, state, published):
            return False
    try:
        async with archive.begin_write() as conn:
            begun = await trees.begin_tree_after(conn, zone, published, archived_seq)
    except IntegrityError:  # another process began the tree at the same moment
        return False
    log.error("audit_tree_begun_anew", zone=zone, tree=begun.tree, published_size=published.size, seq=archived_seq)
    return True


async def _contains(conn: AsyncConnection, zone: Zone, state: TreeState, published: Head) -> bool:
    """Return whether the zone's trees contain the published head: as a state of the last tree, or before it."""
    if published.tree != state.tree:
        return published.tree < state.tree
    if published.size > state.compact.size:
        return False
    return await proofs.read_root(conn, zone, state, published.size) == published.root
