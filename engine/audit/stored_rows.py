"""Read the stored rows of a zone's trees and events. Another program may have written them, and SQLite stores values of
any type.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import Column, TypeCoerce, func, select, type_coerce
from sqlalchemy.ext.asyncio import AsyncConnection
from sqlalchemy.types import NullType

from engine.audit.signed_note import Head
from engine.audit.trees import TreeState
from engine.rules.merkle_tree import CompactTree
from engine.sql.audit_tables import audit, audit_heads, audit_holes, audit_trees
from engine.sql.database import Archive
from engine.sql.schema import checkpoints, events
from engine.sql.sqlite_connection import begin_read_of_any_text

PAGE_SIZE = 1_000
"""How many events are in memory at once. An event has at most 64 KiB."""
WRONG_TYPE_ERRORS = (TypeError, AttributeError, ValueError, LookupError, OverflowError)
"""The errors that occur when a value does not have the type or form of its column."""


def unconverted(column: Column[Any]) -> TypeCoerce[Any]:
    """Return a column of bytes as one whose values are read without conversion. Converting a text that stands in such a
    column would raise an error.
    """
    return type_coerce(column, NullType())


async def read_page(conn: AsyncConnection, zone: str, after: int, until: int) -> list[Any]:
    """Return the next leaves with their events: seq, leaf, salt, at, type, actor, job, cause, to, data."""
    e = events.c
    leaf = (audit.c.seq, unconverted(audit.c.leaf), unconverted(audit.c.salt))
    columns = (*leaf, e.at, e.type, e.actor, e.job, e.cause, e.to, e.data)
    joined = audit.outerjoin(events, (e.zone == audit.c.zone) & (e.seq == audit.c.seq))
    span = (audit.c.zone == zone, audit.c.seq > after, audit.c.seq <= until)
    query = select(*columns).select_from(joined).where(*span)
    return list((await conn.execute(query.order_by(audit.c.seq).limit(PAGE_SIZE))).all())


async def read_trees(conn: AsyncConnection, zone: str) -> list[TreeState]:
    """Return the stored states of the zone's trees, in order."""
    columns = audit_trees.c
    names = (columns.tree, columns.first_seq, columns.head, columns.size, unconverted(columns.peaks).label("peaks"))
    query = select(*names).where(columns.zone == zone).order_by(columns.tree)
    return [
        TreeState(row.tree, row.first_seq, row.head, _stored_tree(row.size, row.peaks))
        for row in await conn.execute(query)
    ]


def _stored_tree(size: int, peaks: bytes) -> CompactTree:
    """Return the state of a tree from its row. A malformed row gives a state whose root is different from that of every
    tree.
    """
    try:
        if isinstance(peaks, bytes):
            return CompactTree.from_bytes(size, peaks)
    except WRONG_TYPE_ERRORS:
        pass
    return CompactTree(size if isinstance(size, int) else 0, [b""])


async def read_ranges(archive: Archive) -> dict[str, tuple[int, int]]:
    """Return the first and the last seq of each zone's trees, by their stored states. Raises Unavailable."""
    columns = audit_trees.c
    last = func.max(columns.first_seq + columns.size - 1)
    query = select(columns.zone, func.min(columns.first_seq), last).group_by(columns.zone)
    async with begin_read_of_any_text(archive) as conn:
        return {zone: (first, end) for zone, first, end in await conn.execute(query)}


async def read_holes(conn: AsyncConnection, zone: str) -> list[tuple[int, int]]:
    """Return the spans of seqs that were accepted as lost."""
    columns = audit_holes.c
    query = select(columns.first_seq, columns.last_seq).where(columns.zone == zone)
    return [(row.first_seq, row.last_seq) for row in await conn.execute(query)]


async def has_head(conn: AsyncConnection, zone: str, head: Head) -> bool:
    """Return whether a head of the same tree and size is stored."""
    columns = audit_heads.c
    here = (columns.zone == zone, columns.tree == head.tree, columns.size == head.size)
    return (await conn.execute(select(columns.size).where(*here))).scalar() is not None


async def read_checkpoint(conn: AsyncConnection, zone: str) -> int:
    """Return the last archived seq; 0 if there is none. Raises ValueError if the stored value is not a number."""
    return int((await conn.execute(select(checkpoints.c.seq).where(checkpoints.c.zone == zone))).scalar() or 0)


async def read_seq_before_audit(conn: AsyncConnection, zone: str) -> int:
    """Return the seq up to which the zone may be archived without a tree; 0 if it must have one."""
    query = select(checkpoints.c.seq_before_audit).where(checkpoints.c.zone == zone)
    return int((await conn.execute(query)).scalar() or 0)
