"""An erasure waits for the log, continues after any interruption, and is repeated in a restored backup."""

from __future__ import annotations

import inspect
import shutil
import sqlite3
import uuid
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.archive import erase_events, erase_rows, erasure_list
from engine.archive.erasure_list import ListedErasure
from engine.audit.verifier import verify_zone
from engine.domain import erasures
from engine.errors import IllegalTransition, NotErasable, NotFound
from engine.identity import access, accounts
from engine.rebuild import rebuilder
from engine.runtime import Engine
from engine.sql import compaction
from engine.startup import open_engine
from engine.types import DEFAULT_ZONE, UserId
from engine.workers import archiver, eraser, redis_erasure
from server.cli.snapshot_manifest import write_manifest
from tests.archive.erasure.life import TEXT, TEXTS, begin_life
from tests.support import people
from tests.support.process import run_callout
from tests.support.traces import traces_in_files, traces_in_redis, traces_in_sql

on_sqlite = pytest.mark.parametrize("settings", ["sqlite"], indirect=True)


class Killed(BaseException):
    """Raised to end a step of the eraser, as if its process were killed there."""


KILLED_AFTER: list[tuple[Any, str]] = [
    (erasure_list, "add_to_list"),
    (redis_erasure, "erase_copies"),
    (eraser, "append_event"),
    (erase_events, "erase_events"),
    (erase_rows, "erase_rows"),
    (erase_rows, "erase_account"),
    (redis_erasure, "rewrite_files"),
    (compaction, "compact"),
]
"""The steps of an erasure after which a test ends the process."""


async def kill_after(engine: Engine, owner: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run the eraser until it has done the step ``name`` of the module ``owner``, and end it there."""
    original = getattr(owner, name)

    def killed(*args: Any, **options: Any) -> Any:
        done = original(*args, **options)
        if not inspect.isawaitable(done):
            raise Killed

        async def wait() -> None:
            await done
            raise Killed

        return wait()

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, killed)
        with pytest.raises(Killed):
            await eraser.run_once(engine)


async def test_a_job_of_the_last_moment_opens_the_account_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a job is booked while the account is being closed, the erasure is refused and withdrawn, also for a repeat
    under the same key, and the account is active again.
    """
    life = await begin_life(engine, 0)
    key, found = str(uuid.uuid4()), []

    async def book_late(engine: Engine, user: UserId) -> Any:
        if not found:
            found.append(await people.job(engine, life.customer, life.service))
            return []
        return await read_blockers(engine, user)

    read_blockers = erasures.read_blockers
    monkeypatch.setattr(erasures, "read_blockers", book_late)
    for _ in range(2):
        with pytest.raises(NotErasable) as refusal:
            await erasures.request_erasure(
                engine, people.ADMIN, life.customer.id, reason="asked", password=None, key=key
            )
        assert refusal.value.extra["blockers"] == ["job"]
        assert (await access.read_access(engine, life.customer.id)).active
    with pytest.raises(NotFound):
        await erasures.read_erasure(engine, people.ADMIN, life.customer.id)


@on_sqlite
async def test_an_erasure_goes_on_wherever_it_was_interrupted(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A process that ends after any step of an erasure is continued by the next process. After each step, the log
    explains why the salts of erased events (random bytes in their leaves) are missing, so the audit verifies.
    """
    life = await begin_life(engine, 1)
    await erasures.request_erasure(engine, people.ADMIN, life.customer.id, reason="asked", password=None)
    await life.archive_all()
    for owner, name in KILLED_AFTER:
        await kill_after(engine, owner, name, monkeypatch)
        await archiver.run_once(engine)
        assert (await verify_zone(engine.archive, DEFAULT_ZONE)).findings == [], name
        assert (await erasures.read_erasure(engine, people.ADMIN, life.customer.id)).state != "done"
    assert await eraser.run_once(engine) == 1 and await eraser.run_once(engine) == 0
    assert await traces_in_sql(engine.archive, TEXTS) == [] and await traces_in_redis(engine, TEXTS) == []
    listed = (Path(engine.settings.data) / erasure_list.FILE_NAME).read_bytes()
    assert listed.count(b"\n") == 1 and life.customer.id.encode() in listed


@on_sqlite
async def test_an_erasure_waits_for_the_window_of_the_log(engine: Engine) -> None:
    """While a log has an event of the person, nothing is erased. No admin opens the account of an erased person."""
    life = await begin_life(engine, 1)
    await erasures.request_erasure(engine, people.ADMIN, life.customer.id, reason="asked", password=None)
    await archiver.run_once(engine)
    for _ in range(2):
        assert await eraser.run_once(engine) == 0
    assert {"waiting"} == {(await erasures.read_erasure(engine, people.ADMIN, life.customer.id)).state}
    assert not (Path(engine.settings.data) / erasure_list.FILE_NAME).exists()
    await life.archive_all()
    assert await eraser.run_once(engine) == 1
    for change in (accounts.reinstate_user, partial(accounts.patch_user, active=True)):
        with pytest.raises(IllegalTransition):
            await change(engine, people.ADMIN, life.customer.id)
    assert not (await access.read_access(engine, life.customer.id)).active


@on_sqlite
async def test_a_restored_backup_is_erased_before_its_zone_opens(
    engine: Engine, own_redis: tuple[Path, str], tmp_path: Path
) -> None:
    """A database from before the erasure is restored beside the list of erasures. When the zone opens, no data of the
    person is in SQL or Redis; afterwards the log explains the erasure.
    """
    life = await begin_life(engine, 2)
    await archiver.run_once(engine)
    backup, data = tmp_path / "backup.db", tmp_path / "restored"
    with (
        closing(sqlite3.connect(Path(engine.settings.data) / "callout.db")) as live,
        closing(sqlite3.connect(backup)) as copy,
    ):
        live.backup(copy)
    await life.archive_all()
    await life.erase()
    data.mkdir()
    shutil.copyfile(backup, data / "callout.db")
    shutil.copyfile(Path(engine.settings.data) / erasure_list.FILE_NAME, data / erasure_list.FILE_NAME)
    await engine.store.redis.flushall()
    async with open_engine(msgspec.structs.replace(engine.settings, data=str(data))) as restored:
        assert restored.store.zones[DEFAULT_ZONE].word == "EMPTY"
        assert await traces_in_sql(restored.archive, TEXTS) != []
        assert len(await rebuilder.run_once(restored)) == 1
        assert restored.store.zones[DEFAULT_ZONE].open
        assert await traces_in_sql(restored.archive, TEXTS) == [] and await traces_in_redis(restored, TEXTS) == []
        assert (await erasures.read_erasure(restored, people.ADMIN, life.customer.id)).state == "running"
        await archiver.run_once(restored)
        assert await eraser.run_once(restored) == 1
        await archiver.run_once(restored)
        report = await verify_zone(restored.archive, DEFAULT_ZONE)
        assert report.findings == [] and report.erased > 10
        assert traces_in_files(data, TEXTS) + traces_in_files(own_redis[0], TEXTS) == []


async def test_the_list_erases_in_sql_alone(engine: Engine) -> None:
    """Before a zone opens, the people in the list of erasures are erased from SQL; a user whom the database does not
    have is skipped. Later the eraser completes the erasure, and the log explains each missing salt.
    """
    life, path = await begin_life(engine, 1), erasure_list.file_of(engine.settings)
    await archiver.run_once(engine)
    erasure_list.add_to_list(path, ListedErasure("era_1", life.customer.id, 1))
    erasure_list.add_to_list(path, ListedErasure("era_2", UserId("usr_nobody"), 1))
    assert await traces_in_sql(engine.archive, TEXTS) != []
    assert await erasure_list.apply_list(engine.archive, engine.settings) == 1
    assert await traces_in_sql(engine.archive, TEXTS) == []
    assert (await erasures.read_erasure(engine, people.ADMIN, life.customer.id)).state == "running"
    await life.archive_all()
    assert await eraser.run_once(engine) == 1
    await archiver.run_once(engine)
    report = await verify_zone(engine.archive, DEFAULT_ZONE)
    assert report.findings == [] and report.erased > 0


@on_sqlite
async def test_callout_restore_erases_again(engine: Engine, tmp_path: Path) -> None:
    """`callout restore` with the list of erasures writes a directory in which no file has the person."""
    life = await begin_life(engine, 1)
    await archiver.run_once(engine)
    folder, listed, data = tmp_path / "snapshot", tmp_path / "erasures.jsonl", tmp_path / "again"
    folder.mkdir()
    (folder / "redis.rdb").write_bytes(TEXT.encode())
    with (
        closing(sqlite3.connect(Path(engine.settings.data) / "callout.db")) as live,
        closing(sqlite3.connect(folder / "callout.db")) as copy,
    ):
        live.backup(copy)
    write_manifest(folder, {})
    erasure_list.add_to_list(listed, ListedErasure("era_1", life.customer.id, 1))
    erasure_list.add_to_list(listed, ListedErasure("era_2", UserId("usr_nobody"), 1))
    assert traces_in_files(folder, TEXTS) != []
    done = await run_callout("restore", str(folder), "--data", str(data), "--erasures", str(listed))
    assert done.code == 0 and "erased again: 1" in done.out, done.err
    assert traces_in_files(data, TEXTS) == [] and not (data / "valkey").exists()
    shutil.copyfile(listed, folder / "erasures.jsonl")
    write_manifest(folder, {})
    done = await run_callout("restore", str(folder), "--data", str(tmp_path / "other"))
    assert done.code == 0 and "erased again: 1" in done.out, done.err
    assert traces_in_files(tmp_path / "other", TEXTS) == []


async def test_a_torn_line_of_the_list_is_skipped(tmp_path: Path) -> None:
    """A line that was not completely written is not applied, and the next one is written on a line of its own."""
    path = tmp_path / "list" / "erasures.jsonl"
    assert erasure_list.read_list(path) == []
    one, other = ListedErasure("era_1", UserId("u1"), 1), ListedErasure("era_2", UserId("u2"), 2)
    erasure_list.add_to_list(path, one)
    with path.open("ab") as file:
        file.write(b'{"id":"era_')
    erasure_list.add_to_list(path, other)
    erasure_list.add_to_list(path, one)
    assert erasure_list.read_list(path) == [one, other] and path.stat().st_mode & 0o077 == 0
