"""Verify a zone's audit trees from SQL alone: read all events, compute their leaves, the trees and the roots, and
compare them with the stored leaves and the signed heads.

Each finding has a kind and the first seq that it concerns. The tree is computed from the stored leaves. So one changed
event is reported as one finding, and not as a wrong root of all later heads.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any, NamedTuple

from sqlalchemy import select
from sqlalchemy.exc import InvalidRequestError
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.audit import extra_rows, leaves, proofs, stored_rows
from engine.audit.head_checker import HeadChecker, read_heads
from engine.audit.row_checker import MAX_FINDINGS, Finding, RowChecker
from engine.audit.signed_note import Head
from engine.audit.stored_rows import WRONG_TYPE_ERRORS, unconverted
from engine.audit.trees import TreeState
from engine.rules.merkle_tree import HASH_BYTES, CompactTree, StoredNode, leaf_hash
from engine.sql.audit_tables import audit, audit_nodes
from engine.sql.database import Archive
from engine.sql.schema import events_refused
from engine.sql.sqlite_connection import begin_read_of_any_text


class Report(NamedTuple):
    """The result for one zone. ``trees`` is the number of its trees, ``heads`` the number of signed heads that were
    compared.
    """

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
    published: Head | None = None,
    public_keys: Collection[bytes] = (),
    from_seq: int = 0,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Report:
    """Verify the trees of a zone from ``from_seq`` on. ``head`` is an older head that was stored outside the database;
    the trees must contain it. ``published`` is the last head that this server signed, from the file beside the
    database: the database must also have it among its heads. Only heads that one of ``public_keys`` signed are valid;
    without ``public_keys``, the keys in the database count. ``progress`` is called with the number of verified entries
    and the number of all.

    Raises Unavailable.
    """
    async with begin_read_of_any_text(archive) as conn:
        verification = _Verification(conn, zone, public_keys, from_seq, progress)
        try:
            return await verification.run(head, published)
        except (*WRONG_TYPE_ERRORS, InvalidRequestError) as error:
            return verification.report_unreadable(error)


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
        self._end = 0
        """The last seq of the trees, according to their states and heads."""

    async def run(self, head: Head | None, published: Head | None) -> Report:
        """Verify all trees and return the report."""
        outside = [each for each in (head, published) if each]
        states = await stored_rows.read_trees(self._conn, self._zone)
        self._holes = await stored_rows.read_holes(self._conn, self._zone)
        self._total = sum(state.compact.size for state in states)
        first_seq = states[0].first_seq if states else 1
        last_seq = first_seq - 1
        for state, following in zip(states, [*states[1:], None], strict=False):
            last_seq = await self._verify_tree(state, following.first_seq if following else None, outside)
        numbers = {state.tree for state in states}
        for each in outside:
            if each.tree not in numbers:
                self._add_finding(
                    last_seq + 1, "cut", f"the database has no tree {each.tree}, of which a head was signed"
                )
        if published and not await stored_rows.has_head(self._conn, self._zone, published):
            text = f"the head of {published.size} leaves, which was published, is not in the database"
            self._add_finding(last_seq + 1, "cut", text)
        checkpoint = await stored_rows.read_checkpoint(self._conn, self._zone)
        unaudited = 0 if states else await stored_rows.read_seq_before_audit(self._conn, self._zone)
        if checkpoint > max(last_seq, unaudited) and not self._findings:
            missing = "were archived" if states else "were archived, and the zone has no tree"
            self._add_finding(last_seq + 1, "cut", f"the events up to {checkpoint} {missing}")
        self._findings += await extra_rows.find_heads_of_no_tree(self._conn, self._zone, numbers, last_seq + 1)
        end = max(checkpoint, self._end)
        self._findings += await extra_rows.find_inserted_rows(self._conn, self._zone, end)
        if states and checkpoint < self._end and not self._findings:
            self._add_finding(
                checkpoint + 1, "inserted", f"the tree ends at {last_seq}, and only {checkpoint} were archived"
            )
        found = sorted({*self._findings, *self._rows.findings()})
        return Report(
            self._zone, len(states), self._entries, self._heads, len(self._rows.erased), first_seq, last_seq, found
        )

    def report_unreadable(self, error: Exception) -> Report:
        """Return the report of a run that ended because a column has a value of a wrong type."""
        self._add_finding(1, "unreadable", f"the verification stopped at a value that is none of Callout's: {error}")
        found = sorted({*self._findings, *self._rows.findings()})
        return Report(self._zone, 1, self._entries, self._heads, len(self._rows.erased), 1, self._entries, found)

    def _add_finding(self, seq: int, kind: Any, text: str) -> None:
        if len(self._findings) < MAX_FINDINGS:
            self._findings.append(Finding(seq, kind, text))

    async def _verify_tree(self, state: TreeState, until: int | None, outside: list[Head]) -> int:
        """Verify one tree. ``until`` is the last seq that the tree can have, or None to use the seq that its state and
        heads give. Return the last seq of the tree.
        """
        heads = await read_heads(self._conn, self._zone, state.tree, outside, self._public_keys)
        checker = HeadChecker(state, heads)
        compact = await self._read_beginning(state)
        checker.skip_to(compact.size)
        seq = after = state.first_seq + compact.size - 1
        self._end = state.first_seq + checker.largest - 1 if until is None else until
        while rows := await stored_rows.read_page(self._conn, self._zone, after, self._end):
            hashes = []
            after = rows[-1][0]
            for row in rows:
                if not isinstance(row[0], int):
                    self._add_finding(seq + 1, "inserted", f"a leaf has the seq {row[0]!r}")
                    continue
                if seq + 1 < row[0]:
                    self._add_finding(seq + 1, "removed", _missing_text(seq + 1, row[0] - 1))
                    checker.is_broken = True
                seq = row[0]
                if isinstance(row[1], bytes) and len(row[1]) == HASH_BYTES:
                    self._rows.check_row(row)
                    hashes.append(row[1])
                else:
                    self._add_finding(seq, "unreadable", "the leaf is no hash")
                    checker.is_broken = True
            await self._explain_absent(rows[0][0], seq)
            if not checker.is_broken:
                checker.compare_nodes(*await self._append_leaves(state, checker, compact, hashes))
            self._entries += len(rows)
            self._progress(self._entries, self._total)
        known = {finding.seq for finding in self._findings} | self._rows.mismatched_seqs()
        found = [Finding(*each) for each in checker.findings(compact, seq, known)]
        wrong = await extra_rows.find_wrong_nodes(self._conn, self._zone, state, checker.largest)
        self._findings += found or ([wrong] if wrong else [])
        self._heads += checker.compared
        return seq

    async def _read_beginning(self, state: TreeState) -> CompactTree:
        """Return the part of the tree before ``from_seq``, from the stored nodes."""
        size = min(max(self._from_seq - state.first_seq, 0), state.compact.size)
        if size:
            try:
                return CompactTree(size, await proofs.read_peaks(self._conn, self._zone, state, size))
            except WRONG_TYPE_ERRORS:
                text = f"the stored nodes and leaves before {self._from_seq} are not whole"
                self._add_finding(state.first_seq, "node_changed", text)
        compact = CompactTree()
        if state.head is not None:
            compact.append([leaf_hash(state.head.encode())])
        return compact

    async def _append_leaves(
        self, state: TreeState, checker: HeadChecker, compact: CompactTree, hashes: list[bytes]
    ) -> tuple[list[StoredNode], dict[tuple[int, int], bytes]]:
        """Append leaves, and compare the root at the size of each head. Return the nodes that became complete, and the
        stored nodes at the same places.
        """
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
            query = select(columns.position, unconverted(columns.hash)).where(
                *here, columns.position.between(places[0], places[-1])
            )
            stored |= {(level, at): value for at, value in await self._conn.execute(query)}
        return completed, stored

    # Rows

    async def _explain_absent(self, first: int, last: int) -> None:
        """Some leaves from ``first`` to ``last`` have no event. Search these events in the quarantine and among the
        seqs that were accepted as lost.
        """
        absent = self._rows.take_absent()
        if not absent:
            return
        columns = events_refused.c
        span = (columns.zone == self._zone, columns.seq.between(first, last), columns.kept.is_(False))
        known = {}
        for seq, stored in await self._conn.execute(select(columns.seq, unconverted(columns.entry)).where(*span)):
            try:
                known[seq] = leaves.entry_of_quarantined(stored)
            except WRONG_TYPE_ERRORS as error:
                self._add_finding(seq, "unreadable", f"the event in quarantine cannot be read: {error}")
        known |= {seq: leaves.hole_entry(seq) for seq in absent if any(a <= seq <= b for a, b in self._holes)}
        query = select(audit.c.seq, unconverted(audit.c.leaf), unconverted(audit.c.salt)).where(
            audit.c.zone == self._zone, audit.c.seq.between(first, last)
        )
        for seq, leaf, salt in await self._conn.execute(query):
            if seq in known:
                self._rows.check_entry(leaf, salt, known[seq])
        self._rows.add_absent(seq for seq in absent if seq not in known)


def _missing_text(first: int, last: int) -> str:
    return "the event's leaf is missing" if first == last else f"the leaves from here to {last} are missing"
