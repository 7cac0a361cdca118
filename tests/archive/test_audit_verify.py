"""`verify_zone` finds each kind of tampering with the archive and names the first seq that it concerns."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sqlalchemy import Table, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive import audit_refill
from engine.archive.projection import fold_events
from engine.audit import extra_rows, leaves, signed_note
from engine.audit.verifier import Report, verify_zone
from engine.process.settings import Settings
from engine.sql.audit_tables import audit, audit_heads, audit_nodes, audit_trees, vault_keys
from engine.sql.database import Archive, open_archive
from engine.sql.schema import checkpoints, epochs, events
from tests.support.audit_log import ZONE, archive_count, archive_events, make_event, sign_head

Tampering = Callable[[AsyncConnection], Awaitable[Any]]


async def tamper(archive: Archive, *changes: Tampering) -> None:
    """Change the database behind Callout's back."""
    async with archive.begin_write() as conn:
        for change in changes:
            await change(conn)


async def verify(archive: Archive, **options: Any) -> Report:
    """Verify the zone."""
    return await verify_zone(archive, ZONE, **options)


def findings_of(report: Report) -> list[tuple[int, str]]:
    """Return seq and kind of each finding of the report."""
    return [(finding.seq, finding.kind) for finding in report.findings]


def change_event(seq: int, **values: Any) -> Tampering:
    """Return the change of one event's columns."""
    return lambda conn: conn.execute(update(events).where(events.c.seq == seq).values(**values))


def change_leaf(seq: int, **values: Any) -> Tampering:
    """Return the change of one leaf's columns."""
    return lambda conn: conn.execute(update(audit).where(audit.c.seq == seq).values(**values))


def remove(table: Table, *seqs: int) -> Tampering:
    """Return the removal of rows with these seqs."""
    return lambda conn: conn.execute(delete(table).where(table.c.seq.in_(seqs)))


def insert_copy(table: Table, seq: int, **values: Any) -> Tampering:
    """Return the insertion of a row like that of seq 1 under another seq."""

    async def change(conn: AsyncConnection) -> None:
        row = (await conn.execute(select(table).where(table.c.seq == 1))).mappings().one()
        await conn.execute(insert(table).values(**{**row, "seq": seq, **values}))

    return change


async def swap_events(conn: AsyncConnection, one: int, other: int) -> None:
    """Exchange the seqs of two events."""
    for seq, new in ((one, -1), (other, one), (-1, other)):
        await conn.execute(update(events).where(events.c.seq == seq).values(seq=new))


async def swap_with_salts(conn: AsyncConnection, one: int, other: int) -> None:
    """Exchange the seqs of two events and of their leaves."""
    await swap_events(conn, one, other)
    for seq, new in ((one, -1), (other, one), (-1, other)):
        await conn.execute(update(audit).where(audit.c.seq == seq).values(seq=new))


async def rewrite_event(conn: AsyncConnection, seq: int) -> None:
    """Change an event and compute its leaf again, as an attacker who knows the format would."""
    await change_event(seq, data='{"job":"another"}')(conn)
    row = (await conn.execute(select(events).where(events.c.seq == seq))).mappings().one()
    salt = (await conn.execute(select(audit.c.salt).where(audit.c.seq == seq))).scalar_one()
    leaf = leaves.leaf_of(ZONE, leaves.entry_of_row(dict(row)), salt)  # type: ignore[arg-type]
    await change_leaf(seq, leaf=leaf)(conn)


async def test_an_untouched_archive_verifies(archive: Archive) -> None:
    """All events verify, from the first and from any later one, with an older head from outside; so does an archive
    with an event that only the quarantine has, and one without a tree.
    """
    assert await verify(archive) == Report(ZONE, 0, 0, 0, 0, 1, 0, [])
    await archive_count(archive, 600)
    old = await sign_head(archive)
    await archive_events(archive, make_event(601, at=10**20), make_event(602, to=()))
    await archive_count(archive, 100)
    newest = await sign_head(archive)
    assert await verify(archive, head=old) == Report(ZONE, 1, 702, 3, 0, 1, 702, [])
    assert findings_of(await verify(archive, head=newest)) == []
    for seq in (1, 2, 256, 257, 258, 601, 701, 702, 703):
        report = await verify(archive, from_seq=seq, head=old)
        assert (findings_of(report), report.entries) == ([], 703 - seq)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (change_event(7, data='{"job":"job_main_01j00000000000000000000001"}'), [(7, "changed")]),
        (change_event(1, actor="customer:b"), [(1, "changed")]),
        (change_event(600, cause="key-6:f"), [(600, "changed")]),
        (change_event(30, at=1), [(30, "changed")]),
        (change_event(31, to="user:a"), [(31, "changed")]),
        (change_event(32, type="job.dark"), [(32, "changed")]),
        (change_event(33, job=None), [(33, "changed")]),
        (change_leaf(9, leaf=b"\x01" * 32), [(9, "changed")]),
        (change_leaf(9, salt=b"\x01" * 16), [(9, "changed")]),
        (remove(events, 8), [(8, "removed")]),
        (remove(audit, 8), [(8, "removed")]),
        (lambda conn: swap_events(conn, 40, 50), [(40, "swapped"), (50, "swapped")]),
        (lambda conn: swap_with_salts(conn, 40, 50), [(40, "swapped"), (50, "swapped")]),
        (change_leaf(12, salt=None), [(12, "salt_removed")]),
        (lambda conn: rewrite_event(conn, 400), [(301, "rewritten")]),
        (lambda conn: conn.execute(update(audit_nodes).values(hash=b"\x01" * 32)), [(1, "node_changed")]),
        (lambda conn: conn.execute(update(audit_trees).values(peaks=b"\x01" * 32 * 4)), [(600, "node_changed")]),
        (remove(audit, 599, 600), [(599, "cut")]),
        (insert_copy(events, 99_999), [(99_999, "inserted")]),
        (insert_copy(events, 0), [(0, "inserted")]),
        (insert_copy(audit, 602), [(602, "inserted")]),
        (lambda conn: conn.execute(update(checkpoints).values(seq=599)), [(600, "inserted")]),
        (
            lambda conn: conn.execute(update(audit_nodes).where(audit_nodes.c.position == 1).values(hash=b"1")),
            [(257, "node_changed")],
        ),
        (lambda conn: conn.execute(delete(audit_nodes).where(audit_nodes.c.position == 0)), [(1, "node_changed")]),
        (
            lambda conn: conn.execute(update(audit_nodes).where(audit_nodes.c.position == 1).values(position=2)),
            [(257, "node_changed")],
        ),
        (lambda conn: conn.execute(delete(audit_trees)), [(1, "cut"), (1, "cut")]),
    ],
)
async def test_each_tampering_is_named(archive: Archive, change: Tampering, expected: list[tuple[int, str]]) -> None:
    """Each change of the database is found with its kind, at the seq that was changed."""
    await archive_count(archive, 300)
    await sign_head(archive)
    await archive_count(archive, 300)
    await sign_head(archive)
    await tamper(archive, change)
    assert findings_of(await verify(archive)) == expected


WRONG_TYPES = [
    ("update audit set leaf = 'text' where seq = 9", (9, "unreadable")),
    ("update audit set leaf = x'01' where seq = 9", (9, "unreadable")),
    ("update audit set salt = 'text' where seq = 9", (9, "changed")),
    ("update audit set salt = 7 where seq = 9", (9, "changed")),
    ("update audit set seq = 'text' where seq = 20", (20, "removed")),
    ("update audit set seq = 19.5 where seq = 20", (20, "inserted")),
    ("update events set data = x'ff' where seq = 9", (9, "changed")),
    ("update events set cause = x'ff' where seq = 9", (9, "changed")),
    ("update events set at = 'text' where seq = 9", (9, "changed")),
    ("update events set data = cast(x'7b22ff227d' as text) where seq = 9", (9, "changed")),
    ("update events set type = cast(x'ff' as text) where seq = 9", (9, "changed")),
    ("update events set \"to\" = cast(x'ff' as text) where seq = 9", (9, "changed")),
    ("update audit_heads set note = cast(x'ff' as text)", (21, "forged_head")),
    ("update events_refused set entry = cast(x'ff' as text)", (21, "unreadable")),
    ("update audit_trees set head = cast(x'ff' as text)", (1, "unreadable")),
    ("update events set seq = 'text' where seq = 9", (9, "removed")),
    ("update events_refused set entry = '{}'", (21, "unreadable")),
    ("update events_refused set entry = x'ff'", (21, "unreadable")),
    ("update audit_trees set peaks = 'text'", (21, "node_changed")),
    ("update audit_trees set size = 'text'", (21, "node_changed")),
    ("update audit_trees set first_seq = 'text'", (1, "unreadable")),
    ("update audit_heads set note = x'ff'", (21, "forged_head")),
    ("update audit_heads set size = 'text'", (0, "forged_head")),
    ("update vault_keys set public = '?'", (21, "forged_head")),
    ("update checkpoints set seq = 'text'", (1, "unreadable")),
    ("delete from deployment", (1, "unreadable")),
]


async def test_values_of_another_type_are_findings(sqlite_settings: Settings) -> None:
    """SQLite stores a value of any type in any column: each is a finding, and none stops the verification with an
    exception.
    """
    archive = await open_archive(sqlite_settings)
    try:
        await archive_count(archive, 20)
        await archive_events(archive, make_event(21, at=10**20))
        await sign_head(archive)
        await archive.close()
        file = archive.url.database or ""
        pristine = Path(file).read_bytes()
        with contextlib.closing(sqlite3.connect(file)) as conn:
            conn.execute("insert into checkpoints (zone, epoch, seq) values (cast(x'ff' as text), 'e1', 1)")
            conn.commit()
        archive = await open_archive(sqlite_settings)
        assert await extra_rows.read_zones(archive, [ZONE]) == [ZONE, "\udcff"]
        assert findings_of(await verify_zone(archive, "\udcff")) == [(1, "unreadable")]
        await archive.close()
        for statement, expected in WRONG_TYPES:
            Path(file).write_bytes(pristine)
            with contextlib.closing(sqlite3.connect(file)) as conn:
                conn.execute(statement)
                conn.commit()
            archive = await open_archive(sqlite_settings)
            assert expected in (report := findings_of(await verify(archive))), (statement, report)
            await archive.close()
    finally:
        await archive.close()


async def test_rows_of_a_zone_without_a_log_are_named(archive: Archive) -> None:
    """A row that was inserted in a zone that has no log is found, although the server does not serve that zone."""
    await archive_count(archive, 2)
    assert await extra_rows.read_zones(archive, [ZONE]) == [ZONE]
    await tamper(archive, insert_copy(events, 7, zone="north"))
    assert await extra_rows.read_zones(archive, [ZONE]) == [ZONE, "north"]
    assert findings_of(await verify_zone(archive, "north")) == [(7, "inserted")]
    assert findings_of(await verify(archive)) == []


async def test_a_cut_tail_shows_against_an_old_head(archive: Archive) -> None:
    """If somebody removes the last events everywhere in the database, with heads and states, only a head that was
    stored elsewhere shows it.
    """
    await archive_count(archive, 300)
    async with archive.begin_read() as conn:
        before = dict((await conn.execute(select(audit_trees))).mappings().one())
    await archive_count(archive, 20)
    outside = await sign_head(archive)
    last = {"seq": 300}
    await tamper(
        archive,
        lambda conn: conn.execute(delete(events).where(events.c.seq > 300)),
        lambda conn: conn.execute(delete(audit).where(audit.c.seq > 300)),
        lambda conn: conn.execute(delete(audit_heads)),
        lambda conn: conn.execute(update(audit_trees).values(**before)),
        lambda conn: conn.execute(update(checkpoints).values(**last)),
    )
    assert findings_of(await verify(archive)) == []
    assert findings_of(await verify(archive, head=outside)) == [(301, "cut")]
    await tamper(archive, *(lambda conn, table=table: conn.execute(delete(table)) for table in (audit, audit_trees)))
    assert set(findings_of(await verify(archive, head=outside))) == {(1, "cut")}


async def test_a_forged_head_is_found(archive: Archive) -> None:
    """A head with another root or size, with the signature of another key, or without any is a forged one: in the
    database and in a file.
    """
    await archive_count(archive, 5)
    good = await sign_head(archive)
    size, root, signature = good.note.split("\n")[1], good.note.split("\n")[2], good.note.split("\n")[4]
    other_root = root.replace(root[:4], "AAAA")
    for note in (
        good.note.replace(root, other_root),
        good.note.replace(f"\n{size}\n", "\n4\n"),
        good.note.replace(signature, ""),
        "nothing",
    ):
        await tamper(archive, lambda conn, note=note: conn.execute(update(audit_heads).values(note=note)))
        assert findings_of(await verify(archive)) == [(5, "forged_head")]
    await tamper(archive, lambda conn: conn.execute(update(audit_heads).values(note=good.note)))
    forged = signed_note.parse_head(good.note.replace(root, other_root))
    assert findings_of(await verify(archive, head=forged)) == [(5, "forged_head")]
    await tamper(archive, lambda conn: conn.execute(delete(vault_keys)))
    assert findings_of(await verify(archive, head=good)) == [(5, "forged_head")]


async def test_an_erasure_entry_accounts_for_its_salts(archive: Archive) -> None:
    """Erased events verify if a `subject.erased` event in the log names them. If that event was changed itself, it
    explains no missing salt (the random bytes in an event's leaf).
    """
    await archive_count(archive, 10)
    old = await sign_head(archive)
    erased = msgspec.json.encode({"user": "usr_1", "seqs": [3, 4]})
    await archive_events(archive, make_event(11, type="subject.erased", data=erased))
    erase: list[Tampering] = [change_event(seq, data="{}", to="", cause="") for seq in (3, 4)]
    await tamper(archive, *erase, change_leaf(3, salt=None), change_leaf(4, salt=None))
    report = await verify(archive, head=old)
    assert (findings_of(report), report.erased) == ([], 2)
    await tamper(archive, change_leaf(5, salt=None))
    assert findings_of(await verify(archive)) == [(5, "salt_removed")]
    await tamper(archive, change_event(11, data=erased.replace(b"[3,4]", b"[3,4,5]").decode()))
    assert findings_of(await verify(archive)) == [
        (3, "salt_removed"),
        (4, "salt_removed"),
        (5, "salt_removed"),
        (11, "changed"),
    ]


async def test_retired_events_need_no_rows(archive: Archive) -> None:
    """Events that retention removed verify if `log.retired` names them; others do not."""
    await archive_count(archive, 10)
    await archive_events(archive, make_event(11, type="log.retired", data=b'{"from":1,"to":4}'))
    await tamper(archive, remove(events, 1, 2, 3, 4))
    assert findings_of(await verify(archive)) == []
    await tamper(archive, remove(events, 5))
    assert findings_of(await verify(archive)) == [(5, "removed")]


async def test_an_entry_that_cannot_be_read_is_named(archive: Archive) -> None:
    """A `subject.erased` of another form is reported and does not stop the verification."""
    await archive_events(archive, make_event(1, type="subject.erased", data=b'{"seqs":"all"}'))
    assert findings_of(await verify(archive)) == [(1, "unreadable")]


async def test_an_archive_of_an_older_release_begins_its_tree_late(archive: Archive) -> None:
    """The tree of an archive that has events already begins with the next event. Events that an older release archives
    afterwards are appended before the next batch; those that nothing has are recorded as holes.
    """
    (row,) = fold_events([make_event(1)]).events
    async with archive.begin_write() as conn:
        await conn.execute(insert(events), [{**row, "seq": seq} for seq in (1, 2)])
        await conn.execute(insert(epochs).values(zone=ZONE, epoch="e1-x", first_seq=1))
        await conn.execute(insert(checkpoints).values(zone=ZONE, epoch="e1-x", seq=2))
    assert findings_of(await verify(archive)) == [(1, "cut")]
    await tamper(archive, lambda conn: conn.execute(update(checkpoints).values(seq_before_audit=2)))
    assert findings_of(await verify(archive)) == []
    await audit_refill.refill(archive, ZONE, 2)
    await archive_count(archive, 3)
    async with archive.begin_write() as conn:
        await conn.execute(insert(events), [{**row, "seq": seq} for seq in (6, 8)])
        await conn.execute(update(checkpoints).values(seq=9))
    await audit_refill.refill(archive, ZONE, 9)
    await archive_count(archive, 1)
    assert await verify(archive) == Report(ZONE, 1, 8, 0, 0, 3, 10, [])
    await tamper(archive, change_leaf(7, leaf=b"\x01" * 32))
    assert (7, "changed") in findings_of(await verify(archive))
