"""A zone is rebuilt from either database, and the lock of a rebuild works on both."""

from __future__ import annotations

import asyncio

import pytest

from engine.clock import now_ms
from engine.domain import blocks, room_members
from engine.process.settings import Settings
from engine.rebuild import rebuilder
from engine.runtime import Engine
from engine.sql.database import Archive
from engine.startup import open_engine
from engine.types import DEFAULT_ZONE, Zone, room_of
from engine.workers import archiver
from engine.zone import control, records
from tests.engine import staff
from tests.rebuild.compare import check_rebuild
from tests.rebuild.scene import open_scene
from tests.support import chat, people

ZONE = DEFAULT_ZONE


async def test_the_lock_has_one_holder_until_it_ends(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """One process at a time holds the lock of a zone. It may renew and release it; another one gets it when it was
    released, or when the holder has not renewed it in time."""
    assert await control.take_lock(archive, ZONE, "one")
    assert await control.take_lock(archive, ZONE, "one")
    assert not await control.take_lock(archive, ZONE, "two")
    assert await control.take_lock(archive, Zone("north"), "two")
    await control.release_lock(archive, ZONE, "two")
    assert not await control.take_lock(archive, ZONE, "two")
    await control.release_lock(archive, ZONE, "one")
    assert await control.take_lock(archive, ZONE, "two")
    monkeypatch.setattr(control, "now_ms", lambda: now_ms() + control.LEASE_MS + 1)
    taken = await asyncio.gather(*(control.take_lock(archive, ZONE, f"late {n}") for n in range(4)))
    assert sum(taken) == 1


async def test_a_paused_zone_is_recorded(archive: Archive) -> None:
    """The database knows that an operator has closed a zone, also while a process holds the lock."""
    assert not (await records.read_records(archive, [ZONE]))[ZONE].paused
    await control.take_lock(archive, ZONE, "one")
    for paused in (True, True, False):
        await control.set_paused(archive, ZONE, paused=paused)
        assert (await records.read_records(archive, [ZONE]))[ZONE].paused is paused
    assert not await control.take_lock(archive, ZONE, "two")


async def test_a_zone_with_a_history_is_rebuilt(engine: Engine) -> None:
    """Jobs in several states, a room with staff and messages, a block: everything is the same after a rebuild."""
    scene = await open_scene(engine, capacity=5)
    claimed = people.id_of(await scene.book_and_claim())
    room = room_of(claimed)
    manager = await chat.staff(engine, "ops_manager")
    await room_members.add_member(engine, people.ADMIN, room, manager.id)
    for text in ("Hello", 'Fünf ✂ \\ "quoted"'):
        await chat.say(engine, scene.customer, room, text)
    await chat.send_command(engine, scene.technician, claimed, "depart")
    await blocks.put_block(engine, scene.customer, (await staff.register_technician(engine)).id)
    ended = people.id_of(await scene.book_and_claim())
    await chat.send_command(engine, scene.customer, ended, "cancel")
    await people.offered_job(engine, scene.customer, scene.service)
    before = await check_rebuild(engine)
    assert len([key for key in before if key.startswith("job:") and key.count(":") == 1]) >= 2


async def test_of_two_processes_one_rebuilds(engine: Engine, settings: Settings) -> None:
    """Two processes that find an empty Redis at once rebuild it once, and both open the same epoch."""
    scene = await open_scene(engine)
    await archiver.run_once(engine)
    async with open_engine(settings) as other:
        await scene.empty_redis()
        await other.store.reopen(ZONE, stale=other.store.zones[ZONE].epoch)
        reports = await asyncio.gather(rebuilder.run_once(engine), rebuilder.run_once(other))
        assert sum(map(len, reports)) == 1
        for each in (engine, other):
            await each.store.reopen(ZONE, stale=each.store.zones[ZONE].epoch)
        first, second = (each.store.zones[ZONE] for each in (engine, other))
        assert first.open and second.open and first.epoch == second.epoch
