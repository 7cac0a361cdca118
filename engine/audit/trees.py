"""The audit trees in SQL: read the state of a zone's tree, append leaves, begin a tree.

A tree is appended in the transaction that moves the archiver's checkpoint by compare-and-set, so it has only one
writer. The state is changed by compare-and-set too, because an erasure, the acceptance of a hole and a restore also
change trees.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.audit import leaves
from engine.audit.leaves import EntryFields
from engine.audit.signed_note import Head, make_origin
from engine.clock import now_ms
from engine.rules.merkle_tree import CompactTree, leaf_hash
from engine.sql.audit_leaves import insert_leaves
from engine.sql.audit_tables import audit_nodes, audit_trees
from engine.sql.compiled import CompiledStatement
from engine.sql.insert import insert_rows
from engine.sql.schema import deployment, events, events_refused
from engine.types import Zone


class TreeChanged(Exception):
    """Raised when another process has changed a zone's tree since this process read it. Nothing was done."""


class TreeGap(Exception):
    """Raised when the next event is missing. ``missing_seq`` is the seq that the zone's tree needs next."""

    def __init__(self, zone: Zone, missing_seq: int) -> None:
        super().__init__(f"{zone}: the audit tree lacks {missing_seq}")
        self.missing_seq = missing_seq


class TreeState(NamedTuple):
    """The state of a tree. ``head`` is the note of the published head that is its leaf 0, or None."""

    tree: int
    first_seq: int
    head: str | None
    compact: CompactTree

    @property
    def next_seq(self) -> int:
        """The seq of the event that becomes the next leaf."""
        return self.first_seq + self.compact.size


_columns = audit_trees.c
_SELECT_STATE = CompiledStatement(
    lambda: (
        select(_columns.tree, _columns.first_seq, _columns.head, _columns.size, _columns.peaks)
        .where(_columns.zone == bindparam("of_zone"))
        .order_by(_columns.tree.desc())
    )
)
_UPDATE_STATE = CompiledStatement(
    lambda: (
        update(audit_trees)
        .where(
            _columns.zone == bindparam("of_zone"),
            _columns.tree == bindparam("of_tree"),
            _columns.size == bindparam("before"),
        )
        .values(size=bindparam("after"), peaks=bindparam("new_peaks"))
    )
)


async def read_state(conn: AsyncConnection, zone: str) -> TreeState | None:
    """Return the state of the zone's last tree; None if it has none."""
    row: Any = (await _SELECT_STATE.run(conn, of_zone=zone)).first()  # one row for each tree of the zone, so only a few
    return TreeState(row[0], row[1], row[2], CompactTree.from_bytes(row[3], bytes(row[4]))) if row else None


async def read_origin(conn: AsyncConnection, zone: str, tree: int) -> str:
    """Return the origin of a tree's heads."""
    return make_origin((await conn.execute(select(deployment.c.id))).scalar_one(), zone, tree)


class HashedEntries(NamedTuple):
    """The leaves of consecutive entries, with their salts. ``first_seq`` is the seq of the first one."""

    first_seq: int
    hashes: list[bytes]
    salts: list[bytes]


def hash_entries(zone: Zone, entries: Sequence[EntryFields]) -> HashedEntries:
    """Return the leaves of entries in the order of their seqs; there is at least one. Raises TreeGap if a seq is
    missing.
    """
    first_seq = entries[0][0]
    for expected, entry in enumerate(entries, first_seq):
        if entry[0] != expected:
            raise TreeGap(zone, expected)
    salts = leaves.new_salts(len(entries))
    return HashedEntries(first_seq, list(map(partial(leaves.leaf_of, zone), entries, salts)), salts)


async def append_entries(conn: AsyncConnection, zone: Zone, entries: Sequence[EntryFields]) -> TreeState:
    """Append entries in the order of their seqs. ``entries`` is not empty. Raises TreeGap, TreeChanged."""
    return await append_leaves(conn, zone, hash_entries(zone, entries))


async def append_leaves(conn: AsyncConnection, zone: Zone, new: HashedEntries) -> TreeState:
    """Append leaves, and begin the zone's first tree if there is none. Raises TreeGap, TreeChanged."""
    state = await read_state(conn, zone) or await _begin_first_tree(conn, zone, new.first_seq)
    size = state.compact.size
    if new.first_seq != state.next_seq:
        raise TreeGap(zone, state.next_seq)
    completed = state.compact.append(new.hashes)
    await _save_state(conn, zone, state, size)
    await insert_leaves(conn, zone, *new)
    nodes = [
        {"zone": zone, "tree": state.tree, "level": n.level, "position": n.position, "hash": n.hash} for n in completed
    ]
    await insert_rows(conn, audit_nodes, nodes)
    return state


async def _begin_first_tree(conn: AsyncConnection, zone: Zone, first_seq: int) -> TreeState:
    await _insert_tree(conn, zone, 1, first_seq, None, CompactTree())
    return TreeState(1, first_seq, None, CompactTree())


async def begin_tree_after(conn: AsyncConnection, zone: Zone, head: Head, archived_seq: int) -> TreeState:
    """Begin the next tree of a zone whose archive was restored to a state before the published ``head``. The head is
    the leaf 0, and the event after ``archived_seq``, the zone's checkpoint, is the leaf 1.
    """
    state = await read_state(conn, zone)
    number = max(head.tree, state.tree if state else 0) + 1
    compact = CompactTree()
    compact.append([leaf_hash(head.note.encode())])
    await _insert_tree(conn, zone, number, archived_seq, head.note, compact)
    return TreeState(number, archived_seq, head.note, compact)


async def _insert_tree(
    conn: AsyncConnection, zone: Zone, number: int, first_seq: int, head: str | None, compact: CompactTree
) -> None:
    values = {"first_seq": first_seq, "size": compact.size, "peaks": compact.peaks_bytes, "head": head}
    await conn.execute(insert(audit_trees).values(zone=zone, tree=number, begun_at=now_ms(), **values))


async def _save_state(conn: AsyncConnection, zone: Zone, state: TreeState, size_before: int) -> None:
    new = {"after": state.compact.size, "new_peaks": state.compact.peaks_bytes}
    saved = await _UPDATE_STATE.run(conn, of_zone=zone, of_tree=state.tree, before=size_before, **new)
    if saved.rowcount != 1:
        raise TreeChanged(f"{zone}: the tree has not {size_before} leaves any more")


def entries_of_batch(
    event_rows: Sequence[Mapping[str, Any]], refused_rows: Sequence[Mapping[str, Any]]
) -> list[EntryFields]:
    """Return the entries of a batch of the archiver: its events, and those that are only in quarantine."""
    entries = [leaves.entry_of_row(row) for row in event_rows]
    lost = [leaves.entry_of_quarantined(row["entry"]) for row in refused_rows if not row["kept"]]
    return sorted([*entries, *lost]) if lost else entries


async def read_entries(conn: AsyncConnection, zone: Zone, after: int, last_seq: int) -> list[EntryFields]:
    """Return the entries of the archived events with ``after`` < seq ≤ ``last_seq``, in order."""
    columns = events.c
    names = (columns.seq, columns.at, columns.type, columns.actor, columns.job, columns.cause, columns.to, columns.data)
    span = (columns.zone == zone, columns.seq > after, columns.seq <= last_seq)
    rows = (await conn.execute(select(*names).where(*span).order_by(columns.seq))).mappings()
    entries = [leaves.entry_of_row(row) for row in rows]  # type: ignore[arg-type]
    refused = events_refused.c
    lost = (refused.zone == zone, refused.seq > after, refused.seq <= last_seq, refused.kept.is_(False))
    stored = (await conn.execute(select(refused.entry).where(*lost))).scalars()
    return sorted([*entries, *(leaves.entry_of_quarantined(entry) for entry in stored)])
