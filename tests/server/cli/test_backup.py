"""``callout snapshot``, ``restore`` and ``export``."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis

from engine.store import keys
from engine.types import DEFAULT_ZONE
from server.cli.snapshot_manifest import write_manifest
from tests.faults.crowd import scenario_on
from tests.support.migrated import create_data_dir
from tests.support.process import run_callout, run_server
from tests.support.wait import wait_until


async def test_wrong_calls_are_refused(tmp_path: Path) -> None:
    """A directory that exists already, a server that does not run, no snapshot, and a data directory with data are
    refused with one line and exit code 2."""
    data = str(tmp_path / "data")
    (tmp_path / "full").mkdir()
    for arguments, why in [
        (("snapshot", str(tmp_path / "full"), "--data", data), "exists already"),
        (("snapshot", "", "--data", data), "DIR is empty"),
        (("snapshot", str(tmp_path / "new"), "--data", data), "the embedded Valkey does not run"),
        (("restore", str(tmp_path / "full"), "--data", data), "is not a snapshot"),
    ]:
        done = await run_callout(*arguments)
        assert done.code == 2 and why in done.error_line
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "callout.db").touch()
    done = await run_callout("restore", str(tmp_path / "full"), "--data", str(tmp_path / "used"))
    assert done.code == 2 and "has data already" in done.error_line


async def test_a_damaged_snapshot_is_not_restored(tmp_path: Path) -> None:
    """If a file of a snapshot is missing or differs, or the manifest is damaged, the restore names the file and writes
    nothing."""
    whole, data = tmp_path / "whole", tmp_path / "data"
    create_data_dir(whole)
    for name in ("redis.rdb", "signing.key", "audit/main.head"):
        (whole / name).parent.mkdir(exist_ok=True)
        (whole / name).write_text("some text")
    write_manifest(whole, {})

    async def error_after(name: str, content: bytes | None) -> str:
        broken = tmp_path / "broken"
        shutil.rmtree(broken, ignore_errors=True)
        shutil.copytree(whole, broken)
        (broken / name).unlink() if content is None else (broken / name).write_bytes(content)
        done = await run_callout("restore", str(broken), "--data", str(data))
        assert done.code == 2 and not data.exists()
        return done.error_line

    database = (whole / "callout.db").read_bytes()
    wrong = database[:5000] + bytes([database[5000] ^ 1]) + database[5001:]
    for name, content in [
        ("callout.db", wrong),
        ("callout.db", database[:-1]),
        ("redis.rdb", b""),
        ("signing.key", b"x"),
    ]:
        assert f"damaged: {name} is not as it was written" in await error_after(name, content)
    for name in ("callout.db", "redis.rdb", "signing.key", "audit/main.head"):
        assert f"not complete: {name}: No such file" in await error_after(name, None)
    for manifest in (b"", b"{}", b'{"files":3}', b'{"files":{"redis.rdb":{"bytes":1}}}'):
        assert "snapshot.json is damaged" in await error_after("snapshot.json", manifest)
    assert "lists no redis.rdb" in await error_after("snapshot.json", b'{"files":{}}')


async def test_a_killed_snapshot_does_not_block_its_name(tmp_path: Path) -> None:
    """If `callout snapshot` is killed, the next call deletes the incomplete files, and its own snapshot is then
    complete or does not exist. A directory that cannot be created is named."""
    data, name = tmp_path / "data", tmp_path / "copy"
    create_data_dir(data)
    dead, alive = tmp_path / ".copy.unfinished-4194399", tmp_path / f".copy.unfinished-{os.getpid()}"
    dead.mkdir()
    alive.mkdir()
    unreachable = ("--data", str(data), "--redis", "redis://127.0.0.1:1")
    done = await run_callout("snapshot", str(name), *unreachable)
    assert done.code == 2 and "Redis sent no copy" in done.error_line
    assert sorted(tmp_path.iterdir()) == [alive, data]
    done = await run_callout("snapshot", "/proc/x", *unreachable)
    assert done.code == 2 and done.error_line.startswith("the snapshot /proc/x cannot be made: ")


@pytest.mark.parametrize(
    ("flags", "why"),
    [
        ((), "give one of --job, --user and --from"),
        (("--job", "x", "--user", "y"), "give one of"),
        (("--job", "x"), "is not the id of a job"),
        (("--user", "a b"), "an id is"),
        (("--to", "4"), "give one of"),
        (("--from", "4", "--to", "3"), "not below it"),
        (("--from", "99999999999999999999"), "99999999999999999999 is not in the range 1<=x<=9007199254740992"),
        (("--from", "1", "--to", str(2**63)), "is not in the range"),
        (("--from", "4", "--zone", "A B"), "is not the name of a zone"),
    ],
)
async def test_wrong_exports_are_refused(tmp_path: Path, flags: tuple[str, ...], why: str) -> None:
    """An export of nothing, of two objects, or with an invalid id or range is refused."""
    done = await run_callout("export", *flags, "--data", str(tmp_path))
    assert done.code == 2 and why in done.error_line


async def _is_archived(data: Path) -> bool:
    done = await run_callout("zone", "status", "--json", "--data", str(data))
    return bool(json.loads(done.out)["main"]["lag"] == 0)


async def export(data: Path, *flags: str) -> list[Any]:
    """Return the lines of an export."""
    done = await run_callout("export", *flags, "--data", str(data))
    assert done.code == 0, done.err
    return [json.loads(line) for line in done.out.splitlines()]


def _database_id(data: Path) -> str:
    with closing(sqlite3.connect(data / "callout.db")) as sql:
        return str(sql.execute("SELECT coalesce(copy, id) FROM deployment").fetchone()[0])


async def test_a_snapshot_of_a_serving_server_is_restored(tmp_path: Path) -> None:
    """A snapshot is taken while jobs are claimed. A server that is restored from it has every claim that was
    acknowledged before the snapshot and nothing later, and begins a new epoch. Its export is complete."""
    data, copy, again = tmp_path / "data", tmp_path / "copy", tmp_path / "again"
    async with run_server(data, limits="off") as server, scenario_on(server) as scenario:
        customer, technician = await scenario.create_person("customer"), await scenario.create_technician(capacity=9)
        claimed = [await scenario.book_job(customer) for _ in range(3)]
        await wait_until(lambda: technician.count_types()["offer.created"] == 3, what="the offers")
        for job in claimed:
            await technician.socket.request("claim", job=job)
        with redis.Redis.from_url(server.redis_url) as client:  # a lease that would block other processes forever
            client.set(keys.runner_lease(DEFAULT_ZONE, "archiver"), "a process of the original")
        done = await run_callout("snapshot", str(copy), "--data", str(data))
        assert done.code == 0, done.err
        later = await scenario.book_job(customer)
    manifest = json.loads(done.out)
    assert manifest["redis_bytes"] > 1_000 and manifest["sql_bytes"] > 10_000
    assert json.loads((copy / "snapshot.json").read_text()) == manifest
    assert manifest["not_copied"] == f"{data}/blobs" and f"copy {data}/blobs now" in done.err
    assert {"callout.db", "redis.rdb", "signing.key"} <= manifest["files"].keys()
    assert {stat.S_IMODE(file.stat().st_mode) & 0o077 for file in copy.iterdir()} == {0}
    assert (await run_callout("restore", str(copy), "--data", str(again))).code == 0
    async with run_server(again, limits="off") as server, scenario_on(server) as scenario:
        for job in claimed:
            assert (await scenario.read_job(job))["technician"]["id"] == technician.id
        with pytest.raises(Exception, match="not_found"):
            await scenario.read_job(later)
        await scenario.create_technician()
        await wait_until(lambda: _is_archived(again), what="the archive", within_s=25)
        # The copy and its original are distinguished, although they are copies of one database.
        done = await run_callout("zone", "close", "--data", str(data), "--redis", server.redis_url)
        assert done.code == 1 and "Redis belongs to another database" in done.error_line
    everything = await export(again, "--from", "1")
    assert [line["seq"] for line in everything] == list(range(1, len(everything) + 1))
    assert everything[4:6] == await export(again, "--from", "5", "--to", "6")
    of_job = await export(again, "--job", claimed[0])
    assert [line["kind"] for line in of_job[:2]] == ["job", "event"]
    assert {line["type"] for line in of_job[1:]} >= {"job.created", "offer.created", "job.accepted"}
    of_user = await export(again, "--user", technician.id)
    assert sum(line["kind"] == "job" for line in of_user) == 3
    assert all(f"user:{technician.id}" in line["to"] for line in of_user if line["kind"] == "event")
    assert (await run_callout("restore", str(copy), "--data", str(tmp_path / "kept"), "--keep-id")).code == 0
    assert [_database_id(each) == _database_id(data) for each in (again, tmp_path / "kept")] == [False, True]
    missing = await run_callout("export", "--job", later, "--data", str(again))
    assert (missing.code, missing.error_line) == (1, f"the archive has no job {later}")
