"""A zone is rebuilt from SQL after Redis returns in any state, and after a rebuild was interrupted at any point."""

from __future__ import annotations

import asyncio
import io
import re
from typing import Any

import pytest
from rich.console import Console
from sqlalchemy import insert

from engine.archive import apply, reader
from engine.archive.projection import Batch
from engine.archive.reader import Checkpoint
from engine.clock import now_ms
from engine.domain import jobs
from engine.domain.commands import CommandInput
from engine.process.settings import Settings
from engine.rebuild import rebuilder
from engine.rebuild.writer import LostRight, ZoneWriter
from engine.runtime import Engine
from engine.sql.schema import epochs
from engine.startup import open_engine
from engine.store import keys
from engine.store.connection import Store
from engine.types import DEFAULT_ZONE, Epoch, JobId
from engine.workers import archiver
from engine.zone import control, log
from server.cli.rebuild_progress import shown_progress
from tests.rebuild.scene import open_scene
from tests.support import people
from tests.support.postgres import on_both_databases

KEY, OTHER_KEY = "7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a11", "7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a12"


@on_both_databases
async def test_an_emptied_redis_is_written_anew(engine: Engine) -> None:
    """After FLUSHALL the zone opens above the archive's head, in a new epoch, and technicians are online as before."""
    scene = await open_scene(engine)
    await archiver.run_once(engine)
    before, head = engine.store.zones[DEFAULT_ZONE].epoch, await scene.read_head()
    await scene.empty_redis()
    [report] = await rebuilder.run_once(engine)
    assert (report.word, report.seq) == ("EMPTY", head)
    state = engine.store.zones[DEFAULT_ZONE]
    assert state.open and state.epoch != before and await scene.read_head() == head
    assert await engine.store.command("HGET", keys.technician(DEFAULT_ZONE, scene.technician_id), "online") == b"1"
    claimed = await scene.book_and_claim()
    assert claimed.seq > head


async def test_jobs_that_were_written_anew_go_on(engine: Engine) -> None:
    """After a rebuild an open job can be claimed, and the work on a held job continues: a rebuild
    also writes the empty fields that a script compares with an empty text.
    """
    scene = await open_scene(engine)
    is_open = await people.offered_job(engine, scene.customer, scene.service)
    held = people.id_of(await scene.book_and_claim())
    await archiver.run_once(engine)
    await scene.empty_redis()
    assert await rebuilder.run_once(engine)
    for command in ("depart", "arrive", "start", "complete"):
        await jobs.run_command(engine, scene.technician, held, CommandInput(command=command))
    assert (await jobs.claim(engine, scene.technician, is_open)).message == "Job accepted"
    await jobs.run_command(engine, scene.technician, is_open, CommandInput(command="unassign"))
    await jobs.run_command(engine, scene.customer, is_open, CommandInput(command="cancel"))


async def test_a_repeated_command_on_a_finished_job_has_the_phone(engine: Engine) -> None:
    """A command that finished a job is repeated after a rebuild, when Redis no longer has the job: it gets the first
    reply, with the customer's phone number. The reply to a claim by someone who left the job has none.
    """
    scene = await open_scene(engine)
    job = people.id_of(await scene.book_and_claim())
    for command in ("depart", "arrive", "start"):
        await jobs.run_command(engine, scene.technician, job, CommandInput(command=command))
    first = await jobs.run_command(engine, scene.technician, job, CommandInput(command="complete"), key=KEY)
    left = await people.offered_job(engine, scene.customer, scene.service)
    claimed = await jobs.claim(engine, scene.technician, left, key=OTHER_KEY)
    await jobs.run_command(engine, scene.technician, left, CommandInput(command="unassign"))
    await jobs.run_command(engine, scene.customer, left, CommandInput(command="cancel"))
    await archiver.run_once(engine)
    await scene.empty_redis()
    assert await rebuilder.run_once(engine)
    assert not await engine.store.command("EXISTS", keys.job(DEFAULT_ZONE, JobId(job)))
    again = await jobs.run_command(engine, scene.technician, job, CommandInput(command="complete"), key=KEY)
    assert again.repeated and again.job is not None and b'"phone"' in bytes(again.job)
    assert (again.job, again.message, again.seq, again.version) == (first.job, first.message, first.seq, first.version)
    repeated = await jobs.claim(engine, scene.technician, left, key=OTHER_KEY)
    assert claimed.job is not None and repeated.job is not None
    assert b'"phone"' in bytes(claimed.job) and b'"phone"' not in bytes(repeated.job)


@pytest.mark.parametrize("is_terminal", [True, False])
async def test_the_progress_is_shown(engine: Engine, monkeypatch: pytest.MonkeyPatch, *, is_terminal: bool) -> None:
    """A rebuild that takes a while shows how many rows are written so far and how many there are, also without a
    terminal. Nothing is shown if there is nothing to rebuild."""
    scene = await open_scene(engine)
    await archiver.run_once(engine)
    shown, running = io.StringIO(), rebuilder.RunningRebuilds()
    console = Console(file=shown, force_terminal=is_terminal, color_system=None, width=100)
    async with shown_progress(console, DEFAULT_ZONE, running):
        assert await rebuilder.run_once(engine, running) == []
    assert shown.getvalue() == ""
    await scene.empty_redis()
    finish = ZoneWriter.finish

    async def finish_late(*args: Any) -> None:
        await asyncio.sleep(0.3)
        await finish(*args)

    monkeypatch.setattr(ZoneWriter, "finish", finish_late)
    async with shown_progress(console, DEFAULT_ZONE, running):
        [report] = await rebuilder.run_once(engine, running)
    assert re.search(rf"zone main: rows written.* {report.rows}/{report.rows}", shown.getvalue())


REBUILD_STEPS = ("begin", "clear", "write", "flush", "write_technicians", "finish", "reopen")
"""The steps of a rebuild after each of which a test kills it."""


class Killed(BaseException):
    """Raised to end a step of a rebuild, as if its process were killed there."""


@pytest.mark.parametrize("step", REBUILD_STEPS)
async def test_a_rebuild_killed_after_any_step_begins_again(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """If a rebuild dies at any point, the zone stays closed until the next one has rebuilt it from the beginning."""
    scene = await open_scene(engine)
    await archiver.run_once(engine)
    head = await scene.read_head()
    await scene.empty_redis()
    owner: Any = Store if step == "reopen" else ZoneWriter
    done = getattr(owner, step)

    async def die(*args: Any, **more: Any) -> None:
        if step != "reopen":
            await done(*args, **more)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, step, die)
        patch.setattr(control, "release_lock", _forget)  # a dead process releases nothing
        with pytest.raises(Killed):
            await rebuilder.run_once(engine)
    assert await engine.store.command("HGET", keys.zone_meta(DEFAULT_ZONE), "epoch") == b"closed"
    assert await rebuilder.run_once(engine) == [], "the dead process still holds the lock"
    monkeypatch.setattr(control, "now_ms", lambda: now_ms() + control.LEASE_MS + 1)
    await scene.notice()
    await rebuilder.run_once(engine)
    await scene.notice()
    assert engine.store.zones[DEFAULT_ZONE].open and await scene.read_head() == head
    assert (await scene.book_and_claim()).seq > head


async def _forget(*_: object) -> None:
    """Do nothing, in place of releasing the lock."""


async def test_of_two_processes_one_rebuilds_and_both_open(engine: Engine, settings: Settings) -> None:
    """Two processes find the empty Redis at once: one rebuilds it, the other waits and opens the same epoch."""
    scene = await open_scene(engine)
    await archiver.run_once(engine)
    async with open_engine(settings) as other:
        await scene.empty_redis()
        await other.store.reopen(DEFAULT_ZONE, stale=other.store.zones[DEFAULT_ZONE].epoch)
        reports = await asyncio.gather(rebuilder.run_once(engine), rebuilder.run_once(other))
        assert sum(map(len, reports)) == 1
        states = [each.store.zones[DEFAULT_ZONE] for each in (engine, other)]
        for each in (engine, other):
            await each.store.reopen(DEFAULT_ZONE, stale=each.store.zones[DEFAULT_ZONE].epoch)
        assert all(state.open for state in states) and states[0].epoch == states[1].epoch


@on_both_databases
async def test_a_zone_opens_whose_rebuild_elsewhere_was_given_up(engine: Engine) -> None:
    """A rebuild of the zone on another Redis closes the zone on this one. If that rebuild is given up, the zone opens
    here in its old epoch, and the archive continues."""
    scene = await open_scene(engine)
    await archiver.run_once(engine)
    state = engine.store.zones[DEFAULT_ZONE]
    before = state.epoch
    assert await control.take_lock(engine.archive, DEFAULT_ZONE, "another")
    await control.fence_archive(engine.archive, DEFAULT_ZONE)
    await scene.notice()
    assert state.word == "OLDER"
    assert await rebuilder.run_once(engine) == [] and state.word == "OLDER"
    await control.release_lock(engine.archive, DEFAULT_ZONE, "another")
    assert await rebuilder.run_once(engine) == []
    assert state.open and state.epoch == before
    await scene.book_and_claim()
    assert await archiver.run_once(engine) > 0


async def test_a_zone_of_which_a_newer_epoch_was_opened_stays_closed(engine: Engine) -> None:
    """If the zone was opened in a newer epoch on another Redis, it stays closed on this one, even after a rebuild was
    given up.
    """
    scene = await open_scene(engine)
    await archiver.run_once(engine)
    newer = {"zone": DEFAULT_ZONE, "epoch": "e2-00000000", "first_seq": await scene.read_head() + 1}
    async with engine.archive.begin_write() as conn:
        await conn.execute(insert(epochs).values(newer))
    await control.fence_archive(engine.archive, DEFAULT_ZONE)
    await scene.notice()
    await rebuilder.run_once(engine)
    assert engine.store.zones[DEFAULT_ZONE].word == "OLDER"


async def test_a_revived_rebuilder_writes_nothing(engine: Engine) -> None:
    """A process that was stopped in its rebuild, and continues after another one has rebuilt the zone, is refused."""
    scene = await open_scene(engine)
    await archiver.run_once(engine)
    await scene.empty_redis()
    late = ZoneWriter(engine.store, DEFAULT_ZONE, "late", 1)
    await late.begin(Epoch(""), 0)
    await scene.notice()
    assert engine.store.zones[DEFAULT_ZONE].word == "REBUILDING"
    await rebuilder.run_once(engine)
    for write in (late.delete([keys.jobs(DEFAULT_ZONE)]), late.finish(1, "d", "x"), late.write_technicians([])):
        with pytest.raises(LostRight):
            await write
    assert engine.store.zones[DEFAULT_ZONE].open


async def test_no_archiver_appends_to_the_archive_during_a_rebuild(engine: Engine) -> None:
    """An archiver that read events of the log before a rebuild began can no longer archive them, because the rebuild
    has not seen them."""
    await open_scene(engine)
    await archiver.run_once(engine)
    in_redis = await log.read_epochs(engine.store.read_connection, DEFAULT_ZONE)
    before = await reader.checkpoint(engine.archive, DEFAULT_ZONE)
    assert before is not None
    await control.fence_archive(engine.archive, DEFAULT_ZONE)
    after = Checkpoint(before.epoch, before.seq + 1)
    with pytest.raises(apply.LogMismatch):
        await apply.apply_batch(engine.archive, DEFAULT_ZONE, Batch(), before=before, after=after, in_redis=in_redis)
