"""Tests of ``callout audit verify``."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from sqlalchemy import delete, update

from engine.audit import heads, signed_note
from engine.process.settings import Settings
from engine.sql.audit_tables import audit, audit_heads, audit_nodes, audit_trees, vault_keys
from engine.sql.database import open_archive
from engine.sql.schema import events
from server.cli.restored_heads import read_installation
from server.cli.snapshot_manifest import write_manifest
from tests.support.audit_log import KEY, archive_count, sign_head
from tests.support.migrated import create_data_dir
from tests.support.process import run_callout


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ([], "no database in "),
        (["--head", "missing"], "no database in "),
        (["--database", "sqlite:///empty.db", "--head", "missing"], "--head missing: No such file or directory"),
        (["--database", "sqlite:///empty.db", "--head", "wrong"], "--head wrong: not a checkpoint"),
        (["--database", "sqlite:///empty.db", "--head", "foreign"], "--head: callout/x/main/1 is a head of another "),
        (["--database", "sqlite:///empty.db", "--public-key", "AAAA"], "--public-key AAAA: 32 bytes in base64"),
        (["--database", "sqlite:///empty.db", "--public-key", "?"], "--public-key ?: 32 bytes in base64"),
        (["--from", "-1"], "Invalid value for '--from'"),
        (["extra"], "Got unexpected extra argument"),
    ],
)
async def test_a_wrong_request_is_refused_in_one_line(flags: list[str], line: str, tmp_path: Path) -> None:
    """A database or head that is missing, malformed or of another installation is refused with the exit code 2."""
    (tmp_path / "wrong").write_text("a head\n")
    (tmp_path / "foreign").write_text(f"callout/x/main/1\n1\n{'A' * 43}=\n\n")
    refused = await run_callout("audit", "verify", *flags, cwd=tmp_path)
    assert (refused.code, refused.out) == (2, "")
    assert refused.error_line.startswith(line)


async def test_verify_names_the_first_bad_seq(tmp_path: Path) -> None:
    """A database that nobody changed gives the exit code 0, also when it is compared with an older signed head. With
    the public key of somebody else, or after an event was changed, the exit code is 1, and the first line names the seq
    and the kind of the problem."""
    create_data_dir(tmp_path / "data")
    archive = await open_archive(Settings(data=str(tmp_path / "data")))
    try:
        await archive_count(archive, 20)
        (tmp_path / "old").write_text((await sign_head(archive)).note)
        await archive_count(archive, 5)
        good = await run_callout("audit", "verify", "--data", "data", "--head", "old", cwd=tmp_path)
        assert good.code == 0
        assert good.out == "main: verifies: 25 entries, seq 1 to 25, 2 signed heads\n"
        own, other = base64.b64encode(KEY.public).decode(), base64.b64encode(b"\x01" * 32).decode()
        assert (await run_callout("audit", "verify", "--data", "data", "--public-key", own, cwd=tmp_path)).code == 0
        forged = await run_callout("audit", "verify", "--data", "data", "--public-key", other, cwd=tmp_path)
        assert (forged.code, forged.out.startswith("main: seq 20: forged_head: ")) == (1, True)
        async with archive.begin_write() as conn:
            await conn.execute(update(events).where(events.c.seq.in_((9, 17))).values(data="{}"))
    finally:
        await archive.close()
    bad = await run_callout("audit", "verify", "--data", "data", cwd=tmp_path)
    assert bad.code == 1
    assert bad.out.startswith("main: seq 9: changed: ")
    later = await run_callout("audit", "verify", "--data", "data", "--from", "10", "--json", cwd=tmp_path)
    (zone,) = json.loads(later.out)["zones"]
    assert (later.code, [finding["seq"] for finding in zone["findings"]]) == (1, [17])


async def test_verify_compares_with_the_published_head(tmp_path: Path) -> None:
    """The signed head in the file beside the database must also be in the database: a database whose heads or trees
    were removed does not verify. A file that contains no signed head, or one of another installation, is reported. If
    `--from` is above the last seq, the command is refused, and the line has the seqs that exist.
    """
    create_data_dir(tmp_path / "data")
    data = str(tmp_path / "data")
    archive = await open_archive(Settings(data=data))

    async def verify(*flags: str) -> tuple[int, str]:
        done = await run_callout("audit", "verify", "--data", "data", *flags, cwd=tmp_path)
        assert "Traceback" not in done.err
        return done.code, (done.out + done.err).splitlines()[0]

    try:
        await archive_count(archive, 20)
        head = await sign_head(archive)
        heads.write_file(data, "main", head.note)
        assert (await verify())[0] == 0
        for note, start in (
            ("nothing", "main: seq 21: unreadable: "),
            (head.note.replace(head.deployment, "other"), "main: seq 21: forged_head: "),
        ):
            heads.write_file(data, "main", note)
            code, line = await verify()
            assert (code, line.startswith(start)) == (1, True), line
        heads.write_file(data, "main", head.note)
        assert await verify("--from", "21") == (
            2,
            "callout: --from 21: nothing is there to verify: main has 1 to 20",
        )
        for tables, start in (
            ((audit_heads,), "main: seq 21: cut: the head of 20 leaves, which was published"),
            ((audit, audit_trees, audit_nodes, vault_keys), "main: seq 1: cut: "),
        ):
            async with archive.begin_write() as conn:
                for table in tables:
                    await conn.execute(delete(table))
            code, line = await verify()
            assert (code, line.startswith(start)) == (1, True), line
    finally:
        await archive.close()


async def test_a_restore_takes_the_published_head_along(tmp_path: Path) -> None:
    """`callout restore` compares the signed heads of `--head`, of the snapshot and of the new data directory, and
    writes the newest one to the place where the archiver reads it. The archiver then begins a new tree with it. A
    file of `--head` without a signed head, or with one of another installation, is refused before anything is written.
    """
    create_data_dir(tmp_path / "snapshot")
    installation = read_installation(tmp_path / "snapshot" / "callout.db")

    def write_head(path: str, size: int, tree: int = 1, owner: str = installation) -> None:
        note = signed_note.sign_head(f"callout/{owner}/main/{tree}", size, b"\x01" * 32, KEY.private)
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(note)

    write_head("snapshot/audit/main.head", 3)
    (tmp_path / "snapshot" / "redis.rdb").touch()
    write_manifest(tmp_path / "snapshot", {})
    (tmp_path / "wrong").write_text("a head")
    write_head("foreign", 9, owner="other")
    for file, why in (("wrong", "wrong: not a checkpoint"), ("foreign", "callout/other/main/1 is a head of another")):
        refused = await run_callout("restore", "snapshot", "--data", "data", "--head", file, cwd=tmp_path)
        assert refused.code == 2 and why in refused.error_line
    assert not (tmp_path / "data").exists()
    write_head("published", 4)
    write_head("there/audit/main.head", 5)
    write_head("newer/audit/main.head", 1, tree=2)
    write_head("of_other/audit/main.head", 9, owner="other")
    for data, flags, newest in [
        ("data", (), (1, 3)),
        ("data2", ("--head", "published"), (1, 4)),
        ("there", ("--head", "published"), (1, 5)),
        ("newer", ("--head", "published"), (2, 1)),
        ("of_other", (), (1, 3)),
    ]:
        assert (await run_callout("restore", "snapshot", "--data", data, *flags, cwd=tmp_path)).code == 0
        head = heads.read_file(str(tmp_path / data), "main")
        assert head and head.deployment == installation and (head.tree, head.size) == newest
