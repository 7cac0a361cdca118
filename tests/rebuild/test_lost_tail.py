"""Redis comes back without the last events of the archive, or with another history: the zone is rebuilt, or only
a part of it if that is enough.
"""

from __future__ import annotations

from typing import Any

import pytest

from engine.domain import edits, rooms
from engine.rebuild import rebuilder
from engine.rebuild.writer import ZoneWriter
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, room_of
from engine.workers import archiver
from tests.rebuild.compare import assert_same, begun_epochs, read_snapshot
from tests.rebuild.scene import Scene, open_scene
from tests.support import chat, people, quoted
from tests.support.postgres import on_both_databases

ZONE = DEFAULT_ZONE
RedisCopy = dict[bytes, tuple[int, bytes]]
"""A copy of Redis: each key's TTL and its dump."""


async def copy_redis(engine: Engine) -> RedisCopy:
    """Return a copy of all keys."""
    redis: Any = engine.store.redis
    return {
        name: (max(0, await redis.pttl(name)), await redis.dump(name)) async for name in redis.scan_iter(count=1000)
    }


async def restore_redis(scene: Scene, copy: RedisCopy) -> None:
    """Bring Redis back to an older state, and make the engine notice it."""
    redis: Any = scene.engine.store.redis
    await redis.flushdb()
    for name, (ttl, dump) in copy.items():
        await redis.restore(name, ttl, dump)
    await redis.hset(keys.zone_meta(ZONE), "run_id", "another server")
    await scene.notice()


async def live_history(scene: Scene) -> None:
    """Run commands of several kinds: a booking, a claim, chat messages, a read mark and an edit."""
    engine, room = scene.engine, room_of(people.id_of(await scene.book_and_claim()))
    await chat.say(engine, scene.customer, room, "Where are you?")
    await chat.say(engine, scene.technician, room, "Near")
    await rooms.mark_read(engine, scene.customer, room, 2)
    other = people.id_of(await people.job(engine, scene.customer, scene.service))
    await edits.edit_job(engine, scene.customer, other, {"public_notes": "second door"})


@on_both_databases
async def test_only_the_lost_part_is_written_anew(engine: Engine) -> None:
    """A Redis that lacks the last events gets them back, with the state that they led to: nothing differs from before,
    and jobs that they do not name are not touched."""
    scene = await open_scene(engine, capacity=3)
    untouched = people.id_of(await people.job(engine, scene.customer, scene.service))
    ended = people.id_of(await scene.book_and_claim())
    await archiver.run_once(engine)
    older = await copy_redis(engine)
    await chat.send_command(engine, scene.technician, ended, "depart")
    await live_history(scene)
    await live.set_availability(engine, scene.technician, scene.technician.id, online=False)
    await live.set_availability(engine, scene.technician, scene.technician.id, online=True)
    await archiver.run_once(engine)
    before, head = await read_snapshot(engine), await scene.read_head()
    await restore_redis(scene, older)
    await engine.store.command("HSET", keys.job(ZONE, untouched), "mark", "as it was")
    assert engine.store.zones[ZONE].word == "BEHIND"
    [report] = await rebuilder.run_once(engine)
    assert report.lost_events and report.seq == head and engine.store.zones[ZONE].open
    after = await read_snapshot(engine)
    assert after[f"job:{untouched}"].pop("mark") == "as it was"
    before["epochs"], after["epochs"] = (begun_epochs(each["epochs"], head) for each in (before, after))
    assert_same(before, after)
    log: Any = await engine.store.redis.xrange(keys.log(ZONE), "-", "+")
    assert [entry for entry, _ in log] == [f"{seq}-0".encode() for seq in range(1, head + 1)]
    assert (await scene.book_and_claim()).seq > head


async def test_lost_quotes_come_back(engine: Engine) -> None:
    """A quote that was created in the lost part exists again, and one that was used up in it is used up again."""
    scene = await open_scene(engine)
    quoted.set_price(engine)
    early = await quoted.quote(engine, scene.customer, scene.service)
    await archiver.run_once(engine)
    older = await copy_redis(engine)
    late = await quoted.quote(engine, scene.customer, scene.service)
    job = people.id_of(await quoted.book(engine, scene.customer, scene.service, quote=early["id"]))
    await archiver.run_once(engine)
    names = [keys.quote(ZONE, each["id"]) for each in (early, late)]
    before = [await engine.store.command("HGETALL", name) for name in names]
    await restore_redis(scene, older)
    [report] = await rebuilder.run_once(engine)
    assert report.lost_events
    assert [await engine.store.command("HGETALL", name) for name in names] == before
    assert await engine.store.command("HMGET", names[0], "used") == [job.encode()]
    assert min([await engine.store.redis.pttl(name) for name in names]) > 0


@pytest.mark.parametrize("lost_events", [False, True], ids=["only the notice is lost", "events are lost too"])
async def test_a_finished_job_leaves_redis_although_its_notice_is_lost(engine: Engine, lost_events: bool) -> None:
    """Redis has the end of a job and loses the notification that the job is archived. After the repair the job's keys
    have their TTL again.
    """
    scene = await open_scene(engine)
    job = people.id_of(await scene.book_and_claim())
    for command in ("depart", "arrive", "start", "complete"):
        await chat.send_command(engine, scene.technician, job, command)
    older = await copy_redis(engine)
    await archiver.run_once(engine)
    redis: Any = engine.store.redis
    assert await redis.pttl(keys.job(ZONE, job)) > 0
    if lost_events:
        await scene.book_and_claim()
        await archiver.run_once(engine)
    await restore_redis(scene, older)
    reports = await rebuilder.run_once(engine)
    assert [bool(report.lost_events) for report in reports] == [True] * lost_events
    assert await redis.pttl(keys.job(ZONE, job)) == -1
    await archiver.run_once(engine)
    assert await redis.pttl(keys.job(ZONE, job)) > 0


async def test_another_last_event_is_another_history(engine: Engine) -> None:
    """If the last event in Redis differs from the archive's event with the same seq, no data of Redis is used."""
    scene = await open_scene(engine)
    await archiver.run_once(engine)
    older = await copy_redis(engine)
    head = await scene.read_head()
    await live_history(scene)
    await archiver.run_once(engine)
    before = await read_snapshot(engine)
    await restore_redis(scene, older)
    redis: Any = engine.store.redis
    [(_, fields)] = await redis.xrange(keys.log(ZONE), f"{head}-0", f"{head}-0")
    await redis.xdel(keys.log(ZONE), f"{head}-0")
    other = dict(zip(fields[::2], fields[1::2], strict=True)) | {b"actor": b"somebody"}
    await redis.delete(keys.log(ZONE))
    await redis.xadd(keys.log(ZONE), other, id=f"{head}-0")
    await scene.notice()
    [report] = await rebuilder.run_once(engine)
    assert report.word == "BEHIND" and report.lost_events is None
    after = await read_snapshot(engine)
    before["epochs"], after["epochs"] = (begun_epochs(each["epochs"], report.seq) for each in (before, after))
    assert_same(before, after)


async def test_another_history_is_replaced(engine: Engine) -> None:
    """A Redis whose epochs contradict the archive is rebuilt, even if it has newer data."""
    scene = await open_scene(engine)
    await live_history(scene)
    await archiver.run_once(engine)
    before, head = await read_snapshot(engine), await scene.read_head()
    redis: Any = engine.store.redis
    await redis.hset(keys.epochs(ZONE), "e2-00000000", head - 1)
    await redis.hset(keys.zone_meta(ZONE), mapping={"epoch": "e2-00000000", "run_id": "another server"})
    await redis.set(keys.job(ZONE, "job_main_x"), "of the other history")  # type: ignore[arg-type]
    await scene.notice()
    assert engine.store.zones[ZONE].word == "FOREIGN"
    [report] = await rebuilder.run_once(engine)
    assert report.seq == head and engine.store.zones[ZONE].open
    after = await read_snapshot(engine)
    before["epochs"], after["epochs"] = (begun_epochs(each["epochs"], head) for each in (before, after))
    assert_same(before, after)


async def test_an_interrupted_mending_becomes_a_whole_rebuild(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """If a process dies while it writes the lost part of a zone, the next process rebuilds the whole zone."""
    scene = await open_scene(engine)
    await archiver.run_once(engine)
    older = await copy_redis(engine)
    await live_history(scene)
    await archiver.run_once(engine)
    before, head = await read_snapshot(engine), await scene.read_head()
    await restore_redis(scene, older)
    with monkeypatch.context() as patch:
        patch.setattr(ZoneWriter, "write_technicians", _die)
        with pytest.raises(RuntimeError):
            await rebuilder.run_once(engine)
    await scene.notice()
    assert engine.store.zones[ZONE].word == "REBUILDING"
    [report] = await rebuilder.run_once(engine)
    assert report.lost_events is None
    after = await read_snapshot(engine)
    before["epochs"], after["epochs"] = (begun_epochs(each["epochs"], head) for each in (before, after))
    assert_same(before, after)


async def _die(*_: object) -> None:
    raise RuntimeError("the process died")
