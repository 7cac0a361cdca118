"""The Merkle tree of RFC 6962: the hashes of leaves and nodes, roots, and proofs.

``CompactTree`` appends leaves and has about log2(n) hashes in memory. A proof needs hashes from inside the tree:
``inclusion_ranges`` and ``consistency_ranges`` return the ranges of leaves whose roots are needed, and
``perfect_nodes`` the nodes that cover such a range. This module does not read the hashes; engine/audit/proofs.py reads
them from SQL.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import NamedTuple

HASH_BYTES = 32
EMPTY_ROOT = sha256(b"").digest()
TILE_LEVELS = 8
"""Every eighth level is stored. So at most 128 hashes are read for one node, and 1/255 of the leaves is stored again.
"""


class Node(NamedTuple):
    """A node over ``2 ** level`` leaves: those from ``position * 2 ** level`` on. A leaf is a node of level 0."""

    level: int
    position: int


class StoredNode(NamedTuple):
    """A node with its hash."""

    level: int
    position: int
    hash: bytes


def leaf_hash(entry: bytes) -> bytes:
    """Return the hash of a leaf with the content ``entry``."""
    return sha256(b"\0" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node above two nodes."""
    return sha256(b"\1" + left + right).digest()


class CompactTree:
    """A tree that grows and that has only its peaks in memory: the roots of the perfect trees of which it consists, the
    largest first.
    """

    __slots__ = ("peaks", "size")

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)

    @classmethod
    def from_bytes(cls, size: int, peaks: bytes) -> CompactTree:
        """Return the tree whose ``peaks_bytes`` are ``peaks``. Raises ValueError if they do not belong to ``size``."""
        if len(peaks) != size.bit_count() * HASH_BYTES:
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} peaks, not {len(peaks) / HASH_BYTES}")
        return cls(size, (peaks[at : at + HASH_BYTES] for at in range(0, len(peaks), HASH_BYTES)))

    @property
    def peaks_bytes(self) -> bytes:
        """The hashes of all peaks, one after the other, as ``from_bytes`` reads them."""
        return b"".join(self.peaks)

    def append(self, leaves: Iterable[bytes]) -> list[StoredNode]:
        """Append the hashes of leaves. Return the nodes that became complete on the levels that are stored."""
        peaks, index, completed = self.peaks, self.size, []
        for leaf in leaves:
            node, at, level = leaf, index, 0
            while at & 1:
                node = sha256(b"\1" + peaks.pop() + node).digest()
                at >>= 1
                level += 1
                if level % TILE_LEVELS == 0:
                    completed.append(StoredNode(level, at, node))
            peaks.append(node)
            index += 1
        self.size = index
        return completed

    def root(self) -> bytes:
        """Return the root of the whole tree."""
        return _root_of_peaks(self.peaks)


def _root_of_peaks(hashes: Sequence[bytes]) -> bytes:
    """Return the root of the tree whose peaks are ``hashes``, the largest first."""
    if not hashes:
        return EMPTY_ROOT
    root = hashes[-1]
    for left in reversed(hashes[:-1]):
        root = node_hash(left, root)
    return root


# Proofs: what they consist of


def _split_point(begin: int, end: int) -> int:
    """Return the index of the leaf at which RFC 6962 splits the leaves from ``begin`` to before ``end``. They are at
    least two.
    """
    length: int = 1 << (end - begin - 1).bit_length() - 1
    return begin + length


def inclusion_ranges(index: int, size: int) -> list[tuple[int, int]]:
    """Return the ranges of leaves whose roots prove that the leaf ``index`` is in the tree of ``size`` leaves."""
    begin, end, ranges = 0, size, []
    while end - begin > 1:
        middle = _split_point(begin, end)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((begin, middle))
            begin = middle
    return ranges[::-1]


def consistency_ranges(old_size: int, size: int) -> list[tuple[int, int]]:
    """Return the ranges of leaves whose roots prove that the tree of ``size`` leaves begins with the tree of
    ``old_size`` leaves, which is neither empty nor larger.
    """
    begin, end, ranges = 0, size, []
    while old_size != end:
        middle = _split_point(begin, end)
        if old_size <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((begin, middle))
            begin = middle
    if begin:
        ranges.append((begin, end))
    return ranges[::-1]


def perfect_nodes(begin: int, end: int) -> list[Node]:
    """Return the fewest nodes that together cover the leaves from ``begin`` to before ``end``, the largest first.
    ``begin`` must be a multiple of the number of leaves of the largest node, as in each range into which RFC 6962
    splits a tree.
    """
    nodes = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        nodes.append(Node(level, begin >> level))
        begin += 1 << level
    return nodes


def range_root(begin: int, end: int, hashes: Mapping[Node, bytes]) -> bytes:
    """Return the root of a range of leaves from the hashes of its ``perfect_nodes``."""
    return _root_of_peaks([hashes[node] for node in perfect_nodes(begin, end)])


def perfect_root(hashes: Sequence[bytes]) -> bytes:
    """Return the root above the hashes of neighbouring nodes of one level. Their number is a power of two."""
    row = list(hashes)
    while len(row) > 1:
        row = [node_hash(row[at], row[at + 1]) for at in range(0, len(row), 2)]
    return row[0]


# Proofs: their verification (RFC 9162, sections 2.1.3.2 and 2.1.4.2)


def proves_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Return whether ``proof`` proves that ``leaf`` is the leaf ``index`` of the tree with this size and root."""
    if not 0 <= index < size:
        return False
    at, last, node = index, size - 1, leaf
    for other in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            node = node_hash(other, node)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            node = node_hash(node, other)
        at, last = at >> 1, last >> 1
    return last == 0 and node == root


def proves_consistency(old_size: int, old_root: bytes, size: int, root: bytes, proof: Sequence[bytes]) -> bool:
    """Return whether ``proof`` proves that the tree with ``size`` and ``root`` begins with the tree with ``old_size``
    and ``old_root``.
    """
    if not 0 < old_size <= size:
        return old_size == 0 and not proof and old_root == EMPTY_ROOT
    if old_size == size:
        return not proof and old_root == root
    path = list(proof)
    if old_size & (old_size - 1) == 0:
        path.insert(0, old_root)
    if not path:
        return False
    at, last = old_size - 1, size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = path[0]
    for other in path[1:]:
        if last == 0:
            return False
        if at & 1 or at == last:
            old, new = node_hash(other, old), node_hash(other, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, other)
        at, last = at >> 1, last >> 1
    return last == 0 and old == old_root and new == root
