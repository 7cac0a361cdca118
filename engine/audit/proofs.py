"""Proofs of the audit trees, made from SQL.

A proof consists of about log2(n) nodes. The nodes of every eighth level are stored, and each other node is computed
from at most 128 of them. One query reads all nodes of a proof.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Select, literal, select, union_all
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.audit import heads
from engine.audit.heads import StoredHead
from engine.audit.trees import TreeState
from engine.rules import merkle_tree
from engine.rules.merkle_tree import TILE_LEVELS, Node, leaf_hash
from engine.sql.audit_tables import audit, audit_nodes, audit_trees
from engine.sql.database import Archive


class InclusionProof(NamedTuple):
    """The proof that the event ``seq`` is the leaf ``position`` of the tree with this head."""

    seq: int
    position: int
    leaf: bytes
    hashes: list[bytes]
    head: StoredHead


class ConsistencyProof(NamedTuple):
    """The proof that a tree of ``size`` leaves begins with the tree of ``old_size`` leaves."""

    tree: int
    old_size: int
    size: int
    hashes: list[bytes]


class NamedHead(NamedTuple):
    """A signed head with the first seq of its tree."""

    stored: StoredHead
    first_seq: int


class _TreeRow(NamedTuple):
    tree: int
    first_seq: int
    head: str | None


async def prove_inclusion(archive: Archive, zone: str, seq: int) -> InclusionProof | None:
    """Return the proof of an event against the newest head of its tree; None if no head covers the event."""
    async with archive.begin_read() as conn:
        tree = await _tree_of_seq(conn, zone, seq)
        head = await heads.read_newest(conn, zone, tree.tree) if tree else None
        if tree is None or head is None or seq - tree.first_seq >= head.head.size:
            return None
        position = seq - tree.first_seq
        ranges = merkle_tree.inclusion_ranges(position, head.head.size)
        hashes = await _range_roots(conn, zone, tree, ranges)
        (leaf,) = (await _read_nodes(conn, zone, tree, [Node(0, position)])).values()
    return InclusionProof(seq, position, leaf, hashes, head)


async def prove_consistency(
    archive: Archive, zone: str, old_size: int, size: int, tree: int | None = None
) -> ConsistencyProof | None:
    """Return the proof between two sizes of a tree (None: the zone's last one); None unless
    0 < ``old_size`` ≤ ``size`` ≤ the tree's size.
    """
    async with archive.begin_read() as conn:
        columns = audit_trees.c
        query = select(columns.tree, columns.first_seq, columns.head, columns.size).where(columns.zone == zone)
        if tree is not None:
            query = query.where(columns.tree == tree)
        row = (await conn.execute(query.order_by(columns.tree.desc()).limit(1))).one_or_none()
        if row is None or not 0 < old_size <= size <= row.size:
            return None
        ranges = merkle_tree.consistency_ranges(old_size, size)
        hashes = await _range_roots(conn, zone, _TreeRow(row.tree, row.first_seq, row.head), ranges)
    return ConsistencyProof(row.tree, old_size, size, hashes)


async def read_newest_head(archive: Archive, zone: str) -> NamedHead | None:
    """Return the newest head of a zone; None if there is none."""
    async with archive.begin_read() as conn:
        stored = await heads.read_newest(conn, zone)
        if stored is None:
            return None
        columns = audit_trees.c
        query = select(columns.first_seq).where(columns.zone == zone, columns.tree == stored.head.tree)
        return NamedHead(stored, (await conn.execute(query)).scalar_one())


async def read_root(conn: AsyncConnection, zone: str, state: TreeState, size: int) -> bytes:
    """Return the root that the tree had when it had ``size`` leaves: at least 1, at most its present number."""
    (root,) = await _range_roots(conn, zone, _TreeRow(state.tree, state.first_seq, state.head), [(0, size)])
    return root


async def read_peaks(conn: AsyncConnection, zone: str, state: TreeState, size: int) -> list[bytes]:
    """Return the peaks (roots of the complete subtrees) that the tree had when it had ``size`` leaves."""
    nodes = merkle_tree.perfect_nodes(0, size)
    found = await _read_nodes(conn, zone, _TreeRow(state.tree, state.first_seq, state.head), nodes)
    return [found[node] for node in nodes]


async def _tree_of_seq(conn: AsyncConnection, zone: str, seq: int) -> _TreeRow | None:
    """Return the tree that has the event ``seq`` as a leaf. If a tree begins with a published head, its first leaf is
    that head and not an event.
    """
    columns = audit_trees.c
    begins = (columns.first_seq < seq) | ((columns.first_seq == seq) & columns.head.is_(None))
    query = select(columns.tree, columns.first_seq, columns.head).where(columns.zone == zone, begins)
    row = (await conn.execute(query.order_by(columns.tree.desc()).limit(1))).one_or_none()
    return _TreeRow(row.tree, row.first_seq, row.head) if row else None


async def _range_roots(
    conn: AsyncConnection, zone: str, tree: _TreeRow, ranges: Sequence[tuple[int, int]]
) -> list[bytes]:
    """Return the root over each of the ``ranges`` of leaves."""
    nodes = [node for begin, end in ranges for node in merkle_tree.perfect_nodes(begin, end)]
    found = await _read_nodes(conn, zone, tree, nodes)
    return [merkle_tree.range_root(begin, end, found) for begin, end in ranges]


async def _read_nodes(conn: AsyncConnection, zone: str, tree: _TreeRow, nodes: Sequence[Node]) -> dict[Node, bytes]:
    """Return the hashes of nodes. Each is computed from the nearest stored level below the node."""
    if not nodes:
        return {}
    rows = await conn.execute(
        union_all(*(_select_stored(zone, tree, number, node) for number, node in enumerate(nodes)))
    )
    parts: list[list[tuple[int, bytes]]] = [[] for _ in nodes]
    for number, position, value in rows:
        parts[number].append((position, bytes(value)))
    if tree.head is not None:
        for part, node in zip(parts, nodes, strict=True):
            if node.level < TILE_LEVELS and node.position == 0:
                part.append((tree.first_seq, leaf_hash(tree.head.encode())))
    return {
        node: merkle_tree.perfect_root([value for _, value in sorted(part)])
        for node, part in zip(nodes, parts, strict=True)
    }


def _select_stored(zone: str, tree: _TreeRow, number: int, node: Node) -> Select[Any]:
    """Return the query for the stored nodes, or leaves, of which a node consists. ``number`` identifies the node."""
    level = node.level // TILE_LEVELS * TILE_LEVELS
    begin, end = node.position << node.level - level, node.position + 1 << node.level - level
    if level == 0:
        columns = audit.c
        seq = columns.seq
        # If a tree begins with a published head, its leaf 0 is that head. The event with this leaf's seq belongs to the
        # tree before.
        first = tree.first_seq + max(begin, 0 if tree.head is None else 1)
        span = (columns.zone == zone, seq >= first, seq < tree.first_seq + end)
        return select(literal(number), seq, columns.leaf).where(*span)
    nodes = audit_nodes.c
    here = (nodes.zone == zone, nodes.tree == tree.tree, nodes.level == level)
    return select(literal(number), nodes.position, nodes.hash).where(
        *here, nodes.position >= begin, nodes.position < end
    )
