"""Compare a tree that is computed from its leaves with its signed heads, its stored nodes and its stored state."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Literal

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.audit import signed_note
from engine.audit.server_keys import read_public_keys
from engine.audit.signed_note import Head
from engine.audit.trees import TreeState, read_origin
from engine.rules.merkle_tree import CompactTree, StoredNode
from engine.sql.audit_tables import audit_heads

_FindingFields = tuple[int, Literal["cut", "inserted", "forged_head", "rewritten", "node_changed"], str]


class CheckedHead:
    """A signed head to compare a tree with. ``is_genuine`` says that a key of this server signed it."""

    def __init__(self, size: int, root: bytes | None, is_genuine: bool) -> None:
        self.size = size
        self.root = root
        self.is_genuine = is_genuine


async def read_heads(
    conn: AsyncConnection, zone: str, tree: int, outside: Iterable[Head], public_keys: Collection[bytes]
) -> list[CheckedHead]:
    """Return the signed heads of a tree in the order of their sizes: those in SQL, and those of ``outside``, which were
    stored elsewhere. Signatures must belong to ``public_keys``, or to the public keys in SQL if ``public_keys`` is
    empty.
    """
    columns = audit_heads.c
    query = select(columns.note, columns.size).where(columns.zone == zone, columns.tree == tree).order_by(columns.size)
    keys = public_keys or (await read_public_keys(conn)).values()
    origin = await read_origin(conn, zone, tree)
    found = [_check_signature(row.note, row.size, origin, keys) for row in await conn.execute(query)]
    found += [_check_signature(head.note, head.size, origin, keys) for head in outside if head.tree == tree]
    return sorted(found, key=lambda head: head.size)


def _check_signature(note: str, size: int, origin: str, keys: Iterable[bytes]) -> CheckedHead:
    # The column may have a value of another type, because SQLite does not check types.
    size = size if isinstance(size, int) else 0
    try:
        head = signed_note.parse_head(note)
    except (ValueError, TypeError):
        return CheckedHead(size, None, is_genuine=False)
    is_genuine = head.size == size and head.origin == origin
    return CheckedHead(size, head.root, is_genuine and any(signed_note.is_signed_by(head, key) for key in keys))


class HeadChecker:
    """Compares one audit tree, as it is computed from its leaves, with its signed heads and its stored nodes.
    ``is_broken`` says that a leaf is missing, so that no later root can be computed.
    """

    def __init__(self, state: TreeState, heads: Sequence[CheckedHead]) -> None:
        self._state = state
        self._heads = list(heads)
        self._at = 0
        self._good_size = 0
        self._wrong: tuple[int, int] | None = None
        """The range of sizes in which the tree stops matching: the last correct size and the first wrong one."""
        self._wrong_nodes: list[StoredNode] = []
        self.largest = max([state.compact.size, *(head.size for head in heads if head.is_genuine)])
        """The largest number of leaves that the stored state or a genuine head states."""
        self.is_broken = False
        self.compared = 0

    def skip_to(self, size: int) -> None:
        """Leave out the heads of at most ``size`` leaves, which are not verified."""
        self._good_size = size
        while self._at < len(self._heads) and self._heads[self._at].size <= size:
            self._at += 1

    def entries_to_next_head(self, size: int) -> int | None:
        """Return how many leaves after ``size`` the next head needs; None if there is no further head."""
        return self._heads[self._at].size - size if self._at < len(self._heads) else None

    def compare_head(self, compact: CompactTree) -> None:
        """Compare the tree with the heads of its size."""
        while self._at < len(self._heads) and self._heads[self._at].size == compact.size:
            head = self._heads[self._at]
            self._at += 1
            self.compared += 1
            if not head.is_genuine or self._wrong:
                continue
            if head.root == compact.root():
                self._good_size = compact.size
            else:
                self._wrong = (self._good_size, compact.size)

    def compare_nodes(self, completed: Sequence[StoredNode], stored: dict[tuple[int, int], bytes]) -> None:
        """Compare the computed nodes that became complete with the stored nodes."""
        self._wrong_nodes += [node for node in completed if stored.get((node.level, node.position)) != node.hash]

    def findings(self, compact: CompactTree, last_seq: int, known: Collection[int]) -> list[_FindingFields]:
        """Return a finding for each contradiction to the tree ``compact``, whose last leaf is ``last_seq``. ``known``
        are the seqs of earlier findings, which may already explain a wrong root.
        """
        found: list[_FindingFields] = []
        first_seq, size = self._state.first_seq, last_seq - self._state.first_seq + 1
        for head in self._heads:
            if not head.is_genuine:
                text = f"the head of {head.size} leaves is signed by no key of this server"
                found.append((first_seq + head.size - 1, "forged_head", text))
        if self.largest > size:
            found.append((last_seq + 1, "cut", f"the tree had {self.largest} leaves and has {size}"))
        elif self.largest < size:
            text = f"the tree has {self.largest} leaves, and {size} are stored"
            found.append((first_seq + self.largest, "inserted", text))
        if (
            self._wrong is None
            and not self.is_broken
            and self.largest == size
            and compact.root() != self._state.compact.root()
        ):
            self._wrong = (self._good_size, size)
        if self._wrong == (size, size):
            found.append((last_seq, "node_changed", "the stored state of the tree is wrong"))
        elif self._wrong:
            begin, end = self._narrow_wrong_range(*self._wrong)
            if not any(first_seq + begin <= seq < first_seq + end for seq in known):
                text = f"the leaves from here to {first_seq + end - 1} do not have the signed root"
                found.append((first_seq + begin, "rewritten", text))
        elif node := next((node for node in self._wrong_nodes if not self._is_explained_by(node, known)), None):
            text = f"the stored node {node.position} of level {node.level} is wrong"
            found.append((first_seq + (node.position << node.level), "node_changed", text))
        return found

    def _is_explained_by(self, node: StoredNode, known: Collection[int]) -> bool:
        """Return whether one of the seqs ``known`` is below the node."""
        first = self._state.first_seq + (node.position << node.level)
        return any(first <= seq < first + (1 << node.level) for seq in known)

    def _narrow_wrong_range(self, begin: int, end: int) -> tuple[int, int]:
        """Return the part of a wrong range in which the first wrong stored node is."""
        for node in self._wrong_nodes:
            first, last = node.position << node.level, node.position + 1 << node.level
            if first < end and last > begin:
                return max(begin, first), min(end, last)
        return begin, end
