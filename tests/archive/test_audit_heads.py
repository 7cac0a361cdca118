"""The heads and proofs of the audit trees, and what happens to a tree when its database is restored."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import delete, func, select, update

from engine.archive import audit_refill
from engine.archive.apply import Superseded
from engine.audit import heads, proofs, signed_note, trees
from engine.audit.server_keys import read_public_keys
from engine.audit.verifier import verify_zone
from engine.rules import merkle_tree
from engine.rules.merkle_tree import leaf_hash
from engine.runtime import Engine
from engine.sql.audit_tables import audit, audit_heads, audit_nodes, audit_trees
from engine.sql.database import Archive
from engine.sql.schema import checkpoints, event_channels, events
from engine.workers import archiver
from engine.workers.audit_heads import HeadPublisher
from tests.archive.test_archiver import append_events
from tests.support.audit_log import KEY, ZONE, archive_count, archive_events, make_event, read_leaves, sign_head


async def dump(archive: Archive) -> dict[Any, list[dict[str, Any]]]:
    """Return all rows of the tables of events and audit trees, as a backup."""
    async with archive.begin_read() as conn:
        tables = (events, event_channels, checkpoints, audit, audit_trees, audit_nodes, audit_heads)
        return {table: [dict(row) for row in (await conn.execute(select(table))).mappings()] for table in tables}


async def restore(archive: Archive, backup: dict[Any, list[dict[str, Any]]]) -> None:
    """Replace all rows of the tables of events and audit trees with those of a backup."""
    async with archive.begin_write() as conn:
        for table, rows in backup.items():
            await conn.execute(delete(table))
            if rows:
                await conn.execute(table.insert(), rows)


async def test_a_head_is_signed_when_a_thousand_entries_are_full(archive: Archive) -> None:
    """The batch that completes a thousand entries of the tree gets a signed head, verifiable with the published key;
    other batches get none. If the tree has grown since then, a head can be signed later.
    """
    assert await heads.sign_newest(archive, ZONE, KEY) is None
    assert await archive_events(archive, *map(make_event, range(1, 999))) is None
    note = await archive_events(archive, *map(make_event, range(999, 1004)))
    assert note is not None
    head = signed_note.parse_head(note)
    assert (head.size, head.zone, head.tree) == (1003, ZONE, 1)
    async with archive.begin_read() as conn:
        assert await read_public_keys(conn) == {KEY.id: KEY.public}
    assert signed_note.is_signed_by(head, KEY.public) and not signed_note.is_signed_by(head, b"\x01" * 32)
    assert await heads.sign_newest(archive, ZONE, KEY) is None
    await archive_count(archive, 1)
    assert (await sign_head(archive)).size == 1004


async def test_proofs_from_sql_verify(archive: Archive) -> None:
    """Every event in the tree of a signed head has a proof under that head, and every two sizes of the tree have a
    proof of consistency. An event beyond the head, and a size that the tree does not have, have no proof.
    """
    assert await proofs.prove_inclusion(archive, ZONE, 1) is None
    assert await proofs.prove_consistency(archive, ZONE, 1, 1) is None
    await archive_count(archive, 700)
    head = await sign_head(archive)
    await archive_count(archive, 1)
    leaves = await read_leaves(archive)
    for seq in (1, 2, 255, 256, 257, 512, 513, 640, 699, 700):
        proof = await proofs.prove_inclusion(archive, ZONE, seq)
        assert proof and (proof.head.head.size, proof.position, proof.leaf) == (700, seq - 1, leaves[seq - 1])
        assert merkle_tree.proves_inclusion(proof.leaf, seq - 1, 700, proof.hashes, head.root)
    assert await proofs.prove_inclusion(archive, ZONE, 701) is None
    assert await proofs.prove_inclusion(archive, ZONE, 0) is None
    for old in (1, 2, 255, 256, 257, 511, 512, 699, 700):
        compact = merkle_tree.CompactTree()
        compact.append(leaves[:old])
        found = await proofs.prove_consistency(archive, ZONE, old, 700)
        assert found and merkle_tree.proves_consistency(old, compact.root(), 700, head.root, found.hashes)
    assert await proofs.prove_consistency(archive, ZONE, 1, 702) is None


async def test_a_restored_database_begins_a_new_tree(archive: Archive) -> None:
    """A database that lacks the published head begins a new tree, whose first leaf is that head. Proofs of both trees
    verify. A database that has the head, and a head of another installation or zone, changes nothing.
    """
    await archive_count(archive, 300)
    first = await sign_head(archive)
    backup = await dump(archive)
    await archive_count(archive, 30)
    published = await sign_head(archive)
    assert not await audit_refill.begin_tree_if_restored(archive, ZONE, published, 330)
    await restore(archive, backup)
    assert not await audit_refill.begin_tree_if_restored(archive, ZONE, first, 300)
    for origin in (f"callout/other/{ZONE}/1", f"callout/{published.deployment}/other/1"):
        foreign = signed_note.parse_head(published.note.replace(published.origin, origin))
        assert not await audit_refill.begin_tree_if_restored(archive, ZONE, foreign, 300)
    assert await audit_refill.begin_tree_if_restored(archive, ZONE, published, 300)
    assert not await audit_refill.begin_tree_if_restored(archive, ZONE, published, 300)
    await archive_count(archive, 300)
    second = await sign_head(archive)
    assert (second.tree, second.size) == (2, 301)
    for seq, head in ((300, first), (301, second), (556, second), (600, second)):
        proof = await proofs.prove_inclusion(archive, ZONE, seq)
        assert proof and proof.head.head == head and proof.position == (seq - 1 if seq <= 300 else seq - 300)
        assert merkle_tree.proves_inclusion(proof.leaf, proof.position, head.size, proof.hashes, head.root)
    begun = await proofs.prove_consistency(archive, ZONE, 1, 301)
    assert begun
    assert merkle_tree.proves_consistency(1, leaf_hash(published.note.encode()), 301, second.root, begun.hashes)
    report = await verify_zone(archive, ZONE)
    assert (report.trees, report.entries, report.findings) == (2, 600, [])
    lost = await verify_zone(archive, ZONE, head=published)
    assert [(finding.seq, finding.kind) for finding in lost.findings] == [(301, "cut")]


async def test_a_restored_database_that_grew_past_the_head_begins_a_new_tree(archive: Archive) -> None:
    """A restored database that has archived other events since then also begins a new tree, because its root differs
    from that of the published head.
    """
    await archive_count(archive, 10)
    backup = await dump(archive)
    await archive_count(archive, 2)
    published = await sign_head(archive)
    await restore(archive, backup)
    await archive_count(archive, 5)
    assert await audit_refill.begin_tree_if_restored(archive, ZONE, published, 15)
    async with archive.begin_read() as conn:
        state = await trees.read_state(conn, ZONE)
    assert state and (state.tree, state.next_seq, state.head) == (2, 16, published.note)


async def test_two_writers_of_a_tree_exclude_each_other(archive: Archive) -> None:
    """A batch that does not follow the tree is refused whole, as one that does not follow the checkpoint is."""
    await archive_count(archive, 3)
    async with archive.begin_write() as conn:
        await conn.execute(update(audit_trees).values(size=1, peaks=b"\x01" * 32))
    with pytest.raises(Superseded):
        await archive_count(archive, 1)
    async with archive.begin_read() as conn:
        assert (await conn.execute(select(func.max(events.c.seq)))).scalar() == 3


async def test_the_archiver_signs_heads_into_a_file(engine: Engine) -> None:
    """The archiver appends the log to the tree. Its publisher signs a head of what it appended at once, then
    one a minute. The last one is in a file of the data directory, from which the next archiver finds that the database
    was restored.
    """
    await append_events(engine, 3)
    await archiver.run_once(engine)
    backup = await dump(engine.archive)
    await append_events(engine, 2)
    await archiver.run_once(engine)
    publisher = HeadPublisher(engine)
    await publisher.sign_due(ZONE)
    assert heads.read_file(engine.settings.data, ZONE) is None
    publisher.note_batch(ZONE, None)
    await publisher.sign_due(ZONE)
    published = heads.read_file(engine.settings.data, ZONE)
    assert published and published.size == 5 and signed_note.is_signed_by(published, publisher.key.public)
    await append_events(engine, 1)
    await archiver.run_once(engine)
    publisher.note_batch(ZONE, None)
    await publisher.sign_due(ZONE)
    assert heads.read_file(engine.settings.data, ZONE) == published
    await restore(engine.archive, backup)
    await archiver.run_once(engine)
    report = await verify_zone(engine.archive, ZONE)
    assert (report.trees, report.entries, report.findings) == (2, 6, [])


async def test_a_head_file_that_cannot_be_read_does_not_stop_the_archiver(engine: Engine) -> None:
    """The archiver reports a file with another content, archives, and replaces the file."""
    heads.write_file(engine.settings.data, ZONE, "nothing\n")
    await append_events(engine, 1)
    await archiver.run_once(engine)
    publisher = HeadPublisher(engine)
    publisher.note_batch(ZONE, None)
    await publisher.sign_due(ZONE)
    head = heads.read_file(engine.settings.data, ZONE)
    assert head and head.size == 1
