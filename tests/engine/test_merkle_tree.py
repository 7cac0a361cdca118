"""The Merkle tree compared with the recursive definitions of RFC 6962, section 2.1, word by word."""

from __future__ import annotations

from hashlib import sha256

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.rules import merkle_tree
from engine.rules.merkle_tree import HASH_BYTES, CompactTree, Node, leaf_hash

SIZES = st.integers(1, 300)


def largest_power_below(count: int) -> int:
    """Return the largest power of two that is smaller than `count`."""
    power = 1
    while power * 2 < count:
        power *= 2
    return power


def naive_root(entries: list[bytes]) -> bytes:
    """Return the root hash of the entries: MTH(D[n]) of RFC 6962."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = largest_power_below(len(entries))
    return sha256(b"\x01" + naive_root(entries[:k]) + naive_root(entries[k:])).digest()


def naive_inclusion(position: int, entries: list[bytes]) -> list[bytes]:
    """Return the proof that the tree contains the entry at ``position``: PATH(m, D[n]) of RFC 6962."""
    if len(entries) == 1:
        return []
    k = largest_power_below(len(entries))
    if position < k:
        return [*naive_inclusion(position, entries[:k]), naive_root(entries[k:])]
    return [*naive_inclusion(position - k, entries[k:]), naive_root(entries[:k])]


def naive_consistency(old: int, entries: list[bytes], is_whole: bool = True) -> list[bytes]:
    """Return the proof that the tree of the first ``old`` entries is a part of the whole tree: SUBPROOF(m, D[n], b) of
    RFC 6962.
    """
    if old == len(entries):
        return [] if is_whole else [naive_root(entries)]
    k = largest_power_below(len(entries))
    if old <= k:
        return [*naive_consistency(old, entries[:k], is_whole), naive_root(entries[k:])]
    return [*naive_consistency(old - k, entries[k:], False), naive_root(entries[:k])]


def entries_of(size: int) -> list[bytes]:
    """Return `size` different entries."""
    return [b"entry %d" % number for number in range(size)]


def range_roots(entries: list[bytes], ranges: list[tuple[int, int]]) -> list[bytes]:
    """Return the roots of ranges, each computed from its perfect nodes."""
    roots = []
    for begin, end in ranges:
        hashes = {
            node: naive_root(entries[node.position << node.level : node.position + 1 << node.level])
            for node in merkle_tree.perfect_nodes(begin, end)
        }
        roots.append(merkle_tree.range_root(begin, end, hashes))
    return roots


@settings(max_examples=60, deadline=None)
@given(SIZES, st.data())
def test_a_tree_grows_to_the_root_of_rfc_6962(size: int, data: st.DataObject) -> None:
    """A tree to which entries are appended in parts, and which is stored and read between them, has the root that RFC
    6962 defines. Only the nodes of every eighth level are stored.
    """
    entries = entries_of(size)
    tree, stored, begin = CompactTree(), {}, 0
    while begin < size:
        end = data.draw(st.integers(begin + 1, size))
        tree = CompactTree.from_bytes(tree.size, tree.peaks_bytes)
        completed = tree.append(map(leaf_hash, entries[begin:end]))
        stored |= {Node(node.level, node.position): node.hash for node in completed}
        begin = end
    assert (tree.size, tree.root()) == (size, naive_root(entries))
    assert stored == {Node(8, at): naive_root(entries[at * 256 : at * 256 + 256]) for at in range(size // 256)}


@settings(max_examples=60, deadline=None)
@given(SIZES, st.data())
def test_inclusion_is_proved(size: int, data: st.DataObject) -> None:
    """The proof of a leaf is that of the definition and verifies. It verifies for no other leaf, position, size or
    root, nor with a hash changed, removed or added.
    """
    entries, position = entries_of(size), data.draw(st.integers(0, size - 1))
    proof = range_roots(entries, merkle_tree.inclusion_ranges(position, size))
    leaf, root, other = leaf_hash(entries[position]), naive_root(entries), b"\x07" * HASH_BYTES
    assert proof == naive_inclusion(position, entries)
    proves = merkle_tree.proves_inclusion
    assert proves(leaf, position, size, proof, root)
    assert not proves(other, position, size, proof, root)
    assert not proves(leaf, position, size, proof, other)
    assert not proves(leaf, size, size, proof, root)
    assert not proves(leaf, position, size, [*proof, other], root)
    assert not any(proves(leaf, wrong, size, proof, root) for wrong in range(size) if wrong != position)
    if proof:
        assert not proves(leaf, position, size, proof[:-1], root)
        assert not proves(leaf, position, size, [other, *proof[1:]], root)


@settings(max_examples=60, deadline=None)
@given(SIZES, st.data())
def test_consistency_is_proved(size: int, data: st.DataObject) -> None:
    """The proof between two sizes is that of the definition and verifies. It does not verify for a tree of which an
    earlier entry was rewritten, nor with a hash changed, removed or added.
    """
    entries, old = entries_of(size), data.draw(st.integers(1, size))
    proof = range_roots(entries, merkle_tree.consistency_ranges(old, size))
    old_root, root, other = naive_root(entries[:old]), naive_root(entries), b"\x07" * HASH_BYTES
    assert proof == naive_consistency(old, entries)
    proves = merkle_tree.proves_consistency
    assert proves(old, old_root, size, root, proof)
    rewritten = list(entries)
    rewritten[data.draw(st.integers(0, old - 1))] = b"rewritten"
    forged = range_roots(rewritten, merkle_tree.consistency_ranges(old, size))
    assert not proves(old, old_root, size, naive_root(rewritten), forged)
    assert not proves(old, other, size, root, proof)
    assert not proves(old, old_root, size, other, proof)
    assert not proves(old, old_root, size, root, [*proof, other])
    assert not proves(size + 1, old_root, size, root, proof)
    if proof:
        assert not proves(old, old_root, size, root, proof[:-1])


def test_the_empty_tree() -> None:
    """A tree without leaves has the root of the definition, and every tree begins with it."""
    assert CompactTree().root() == naive_root([])
    assert merkle_tree.proves_consistency(0, naive_root([]), 5, b"\x01" * HASH_BYTES, [])
    assert not merkle_tree.proves_consistency(0, b"\x01" * HASH_BYTES, 5, b"\x01" * HASH_BYTES, [])


def test_peaks_that_do_not_belong_to_the_size_are_refused() -> None:
    """A tree's stored state with the wrong number of peaks (roots of its complete subtrees) raises an error."""
    for peaks in (b"", b"\x01" * HASH_BYTES, b"\x01" * (2 * HASH_BYTES + 1)):
        try:
            CompactTree.from_bytes(3, peaks)
        except ValueError as error:
            assert "peaks" in str(error)
        else:
            raise AssertionError("accepted")
