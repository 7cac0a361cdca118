"""Verify a zone's audit trees from SQL alone: read all events, compute their leaves, the trees and the roots, and
compare them with the stored leaves and the signed heads.

What is found has a kind and the first seq that it concerns. The tree is computed from the stored leaves: then one
changed event is found as one, and not as a wrong root of everything behind it.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.audit import leaves, proofs
from engine.audit.head_checker import HeadChecker, read_heads
from engine.audit.row_checker import Finding, RowChecker
from engine.audit.signed_note import Head
from engine.audit.trees import TreeState
from engine.rules.merkle_tree import CompactTree, StoredNode, leaf_hash
from engine.sql.audit_tables import audit, audit_holes, audit_nodes, audit_trees
from engine.sql.database import Archive
from engine.sql.schema import checkpoints, events, events_refused

PAGE_SIZE = 5_000


class Report(NamedTuple):
    """The result for one zone. ``trees`` is their number, ``heads`` the number of signed heads that were compared."""

    zone: str
    trees: int
    entries: int
    heads: int
    erased: int
    first_seq: int
    last_seq: int
    findings: list[Finding]


async def verify_zone(
    archive: Archive,
    zone: str,
    *,
    head: Head | None = None,
    public_keys: Collection[bytes] = (),
    from_seq: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Verify the trees of a zone from ``from_seq`` on. ``head`` is an older head that was stored outside the database;
    the trees must contain it. ``public_keys``: only heads that one of these keys signed are good; without them, those
    in the database. ``progress`` is called with the number of verified entries and that of all.

    Raises Unavailable.
    """
    async with archive.begin_read() as conn:
        return await _Verification(conn, zone, public_keys, from_seq, progress).run(head)


class _Verification:
    """One run over the trees of a zone."""

    def __init__(
        self,
        conn: AsyncConnection,
        zone: str,
        public_keys: Collection[bytes],
        from_seq: int,
        progress: Callable[[int, int], None],
    ) -> None:
        self._conn = conn
        self._zone = zone
        self._public_keys = public_keys
        self._from_seq = from_seq
        self._progress = progress
        self._rows = RowChecker(zone)
        self._findings: list[Finding] = []
        self._entries = self._heads = self._total = 0

    async def run(self, head: Head | None) -> Report:
        """Verify all trees and return the report."""
        states = await self._read_trees()
        self._holes = await self._read_holes()
        self._total = sum(state.compact.size for state in states)
        first_seq = states[0].first_seq if states else 1
        last_seq = first_seq - 1
        for state, following in zip(states, [*states[1:], None], strict=False):
            last_seq = await self._verify_tree(state, following.first_seq if following else None, head)
        if head and not any(state.tree == head.tree for state in states):
            self._find(last_seq + 1, "cut", f"the database has no tree {head.tree}, of which a head was signed")
        checkpoint = await self._read_checkpoint()
        if states and checkpoint > last_seq and not self._findings:
            self._find(last_seq + 1, "cut", f"the events up to {checkpoint} were archived")
        found = sorted({*self._findings, *self._rows.findings()})
        return Report(
            self._zone, len(states), self._entries, self._heads, len(self._rows.erased), first_seq, last_seq, found
        )

    def _find(self, seq: int, kind: Any, text: str) -> None:
        self._findings.append(Finding(seq, kind, text))

    async def _verify_tree(self, state: TreeState, until: int | None, head: Head | None) -> int:
        """Verify one tree. ``until`` is the last seq that it can have (None: any). Return the last seq that it has."""
        heads = await read_heads(self._conn, self._zone, state.tree, head, self._public_keys)
        checker = HeadChecker(state, heads)
        compact = await self._beginning(state)
        checker.skip_to(compact.size)
        seq = state.first_seq + compact.size - 1
        while rows := await self._read_page(seq, until):
            hashes = []
            for row in rows:
                while seq + 1 < row[0]:
                    seq += 1
                    self._find(seq, "removed", "the event's leaf is missing")
                    checker.is_broken = True
                seq += 1
                self._rows.check_row(row)
                hashes.append(row[1])
            await self._explain_absent(rows[0][0], seq)
            if not checker.is_broken:
                checker.compare_nodes(*await self._append(state, checker, compact, hashes))
            self._entries += len(rows)
            self._progress(self._entries, self._total)
        known = {finding.seq for finding in self._findings} | self._rows.mismatched_seqs()
        self._findings += [Finding(*each) for each in checker.findings(compact, seq, known)]
        self._heads += checker.compared
        return seq

    async def _beginning(self, state: TreeState) -> CompactTree:
        """Return the part of the tree before ``from_seq``, from the stored nodes."""
        size = min(max(self._from_seq - state.first_seq, 0), state.compact.size)
        if size:
            return CompactTree(size, await proofs.read_peaks(self._conn, self._zone, state, size))
        compact = CompactTree()
        if state.head is not None:
            compact.append([leaf_hash(state.head.encode())])
        return compact

    async def _append(
        self, state: TreeState, checker: HeadChecker, compact: CompactTree, hashes: list[bytes]
    ) -> tuple[list[StoredNode], dict[tuple[int, int], bytes]]:
        """Append leaves, with a stop at each head. Return the nodes that became complete, and those that are stored."""
        completed: list[StoredNode] = []
        while hashes:
            count = checker.entries_to_next_head(compact.size)
            completed += compact.append(hashes[:count])
            hashes = hashes[count:] if count else []
            checker.compare_head(compact)
        columns = audit_nodes.c
        stored: dict[tuple[int, int], bytes] = {}
        for level in {node.level for node in completed}:
            places = [node.position for node in completed if node.level == level]
            here = (columns.zone == self._zone, columns.tree == state.tree, columns.level == level)
            query = select(columns.position, columns.hash).where(*here, columns.position.between(places[0], places[-1]))
            stored |= {(level, at): bytes(value) for at, value in await self._conn.execute(query)}
        return completed, stored

    # Rows

    async def _read_page(self, after: int, until: int | None) -> list[Any]:
        """Return the next leaves with their events: seq, leaf, salt, at, type, actor, job, cause, to, data."""
        e = events.c
        columns = (audit.c.seq, audit.c.leaf, audit.c.salt, e.at, e.type, e.actor, e.job, e.cause, e.to, e.data)
        joined = audit.outerjoin(events, (e.zone == audit.c.zone) & (e.seq == audit.c.seq))
        query = select(*columns).select_from(joined).where(audit.c.zone == self._zone, audit.c.seq > after)
        if until is not None:
            query = query.where(audit.c.seq <= until)
        return list((await self._conn.execute(query.order_by(audit.c.seq).limit(PAGE_SIZE))).all())

    async def _explain_absent(self, first: int, last: int) -> None:
        """Compare the leaves of a page that have no event with the quarantine and the holes."""
        absent = self._rows.take_absent()
        if not absent:
            return
        columns = events_refused.c
        span = (columns.zone == self._zone, columns.seq.between(first, last), columns.kept.is_(False))
        stored = (await self._conn.execute(select(columns.entry).where(*span))).scalars()
        known = {entry.seq: entry for entry in map(leaves.entry_of_quarantined, stored)}
        known |= {seq: leaves.hole_entry(seq) for seq in absent if any(a <= seq <= b for a, b in self._holes)}
        query = select(audit.c.seq, audit.c.leaf, audit.c.salt).where(
            audit.c.zone == self._zone, audit.c.seq.between(first, last)
        )
        for seq, leaf, salt in await self._conn.execute(query):
            if seq in known:
                self._rows.check_entry(leaf, salt, known[seq])
        self._rows.add_absent(seq for seq in absent if seq not in known)

    # What else is read

    async def _read_trees(self) -> list[TreeState]:
        query = select(audit_trees).where(audit_trees.c.zone == self._zone).order_by(audit_trees.c.tree)
        return [
            TreeState(row.tree, row.first_seq, row.head, _stored_tree(row.size, row.peaks))
            for row in await self._conn.execute(query)
        ]

    async def _read_holes(self) -> list[tuple[int, int]]:
        columns = audit_holes.c
        query = select(columns.first_seq, columns.last_seq).where(columns.zone == self._zone)
        return [(row.first_seq, row.last_seq) for row in await self._conn.execute(query)]

    async def _read_checkpoint(self) -> int:
        query = select(checkpoints.c.seq).where(checkpoints.c.zone == self._zone)
        return (await self._conn.execute(query)).scalar() or 0


def _stored_tree(size: int, peaks: bytes) -> CompactTree:
    """Return the stored state of a tree. A state that is malformed has a root that no tree has."""
    try:
        return CompactTree.from_bytes(size, peaks)
    except ValueError:
        return CompactTree(size, [b""])
