"""Find rows of SQL that the archiver did not write: events and leaves outside a zone's audit trees, and nodes and
signed heads that belong to no tree.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import func, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.audit.row_checker import Finding
from engine.audit.trees import TreeState
from engine.rules.merkle_tree import TILE_LEVELS
from engine.sql.audit_tables import audit, audit_heads, audit_nodes, audit_trees
from engine.sql.database import Archive
from engine.sql.schema import checkpoints, events, events_refused
from engine.sql.sqlite_connection import begin_read_of_any_text

MAX_NAMED_ROWS = 1_000
"""The most rows of a table that are reported."""


async def read_zones(archive: Archive, served: Iterable[str]) -> list[str]:
    """Return the ``served`` zones, and all other zones of which the database has rows. Raises Unavailable."""
    tables = (events, events_refused, checkpoints, audit, audit_trees, audit_heads)
    async with begin_read_of_any_text(archive) as conn:
        found = (await conn.execute(union(*(select(table.c.zone) for table in tables)))).scalars()
        first = list(dict.fromkeys(served))
        return first + sorted({str(zone) for zone in found} - set(first))


async def find_inserted_rows(conn: AsyncConnection, zone: str, last_seq: int) -> list[Finding]:
    """Return the rows of events and leaves that are outside the zone's log, whose last archived seq is ``last_seq``."""
    found = []
    for table, name in ((events, "event"), (audit, "leaf"), (events_refused, "event in quarantine")):
        columns = table.c
        outside = (columns.seq > last_seq) | (columns.seq < 1)
        query = select(columns.seq).where(columns.zone == zone, outside).order_by(columns.seq).limit(MAX_NAMED_ROWS)
        for seq in (await conn.execute(query)).scalars():
            if isinstance(seq, int):
                found.append(Finding(seq, "inserted", f"this {name} is outside the log, which ends at {last_seq}"))
            else:  # the column may have a value of another type, because SQLite does not check types
                found.append(Finding(last_seq + 1, "inserted", f"a row of {table.name} has the seq {seq!r}"))
    return found


async def find_wrong_nodes(conn: AsyncConnection, zone: str, state: TreeState, size: int) -> Finding | None:
    """Return a finding if the tree, which has ``size`` leaves, has too many or too few stored nodes."""
    columns = audit_nodes.c
    here = (columns.zone == zone, columns.tree == state.tree)
    counts: Any = select(columns.level, func.count(), func.max(columns.position)).where(*here).group_by(columns.level)
    stored = {level: (count, last) for level, count, last in await conn.execute(counts)}
    level = TILE_LEVELS
    while size >> level:
        expected = size >> level
        if stored.pop(level, None) != (expected, expected - 1):
            return Finding(state.first_seq, "node_changed", f"the stored nodes of level {level} are not {expected}")
        level += TILE_LEVELS
    if stored:
        return Finding(state.first_seq, "node_changed", f"a node of level {min(map(str, stored))} is stored")
    return None


async def find_heads_of_no_tree(conn: AsyncConnection, zone: str, trees: Collection[int], seq: int) -> list[Finding]:
    """Return a finding for each signed head whose tree is none of ``trees``. A finding needs a seq: ``seq`` is the one
    at which the next tree would begin.
    """
    columns = audit_heads.c
    query = select(columns.tree, func.max(columns.size)).where(columns.zone == zone).group_by(columns.tree)
    return [
        Finding(seq, "cut", f"there is no tree {tree}, of which a head of {size} leaves is stored")
        for tree, size in await conn.execute(query)
        if tree not in trees
    ]
