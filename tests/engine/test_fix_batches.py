"""Fixes in batches: one call of Redis stores many fixes, each fix has its own outcome, and a fix that fails does not
affect the others.
"""

from __future__ import annotations

import asyncio

import pytest

from engine.errors import CalloutError, Internal, Invalid, NotFound, Unavailable
from engine.rules.fixes import Fix, FixReply
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, Epoch, Principal, TechnicianId
from tests.support import people

TECHNICIAN_COUNT = 80


@pytest.fixture
async def crowd(engine: Engine) -> list[Principal]:
    """Create technicians who are online."""
    service = await people.service(engine)
    return [await people.technician(engine, f"t{number}", service) for number in range(TECHNICIAN_COUNT)]


def record_key(who: Principal) -> str:
    """Return the Redis key of the technician's record."""
    return keys.technician(DEFAULT_ZONE, TechnicianId(who.id))


async def send_all(engine: Engine, crowd: list[Principal], lat: float) -> list[FixReply | BaseException]:
    """Send a fix of each technician in one turn of the event loop, and return the outcomes."""
    fixes = (live.store_fixes(engine, who, who.id, [Fix(lat=lat, lon=-73.99)]) for who in crowd)
    return await asyncio.gather(*fixes, return_exceptions=True)


async def call_count(engine: Engine) -> int:
    """Return how many functions Redis has run."""
    return int((await engine.store.redis.info("commandstats"))["cmdstat_fcall"]["calls"])


async def latitudes(engine: Engine, crowd: list[Principal]) -> set[float]:
    """Return the latitudes that the records of these technicians have."""
    return {float(await engine.store.redis.hget(record_key(who), "lat") or 0) for who in crowd}


async def test_fixes_of_one_turn_share_calls(engine: Engine, crowd: list[Principal]) -> None:
    """Fixes of 80 technicians in one turn of the event loop are two calls of Redis, and each is answered."""
    before = await call_count(engine)
    assert await send_all(engine, crowd, 40.751) == [FixReply(online=True, clock_offset_s=0.0)] * TECHNICIAN_COUNT
    assert await call_count(engine) == before + 2
    assert await latitudes(engine, crowd) == {40.751}


async def test_a_fix_that_fails_does_not_spoil_the_others(engine: Engine, crowd: list[Principal]) -> None:
    """In one batch, a fix of an unknown technician raises NotFound, a fix for a technician whose record is broken
    raises Internal, and a fix with an invalid position raises Invalid. All other fixes are stored.
    """
    unknown, clockless, restless, lost, *others = people.technician_without_account("nobody"), *crowd
    await engine.store.redis.hset(record_key(clockless), "clock", "not a clock at all")
    await engine.store.redis.hset(record_key(restless), "rest", "here there 5")
    placeless = live.store_fixes(engine, lost, lost.id, [Fix(lat=89.0, lon=0.0)])
    batch = send_all(engine, [unknown, clockless, restless, *others], 40.752)
    replies, invalid = await asyncio.gather(batch, placeless, return_exceptions=True)
    assert isinstance(invalid, Invalid) and not isinstance(replies, BaseException)
    assert [type(reply) for reply in replies[:3]] == [NotFound, Internal, Internal]
    assert replies[3:] == [FixReply(online=True, clock_offset_s=0.0)] * len(others)
    assert await latitudes(engine, others) == {40.752}
    assert await latitudes(engine, [restless, lost]) == {people.HERE.lat}


async def test_a_batch_with_an_outdated_epoch_is_repeated(engine: Engine, crowd: list[Principal]) -> None:
    """If this process still has an outdated epoch of the zone, it opens the zone again, and every fix of the batch is
    stored.
    """
    engine.store.zones[DEFAULT_ZONE].epoch = Epoch("e0-outdated")
    assert await send_all(engine, crowd, 40.753) == [FixReply(online=True, clock_offset_s=0.0)] * TECHNICIAN_COUNT
    assert await latitudes(engine, crowd) == {40.753}


async def test_each_fix_of_a_failed_call_gets_the_error(engine: Engine, crowd: list[Principal]) -> None:
    """While the zone is closed, each fix is `unavailable`; after it is open again, fixes are stored."""
    engine.store.close_zone(DEFAULT_ZONE, "test")
    replies = await send_all(engine, crowd, 40.754)
    assert [type(reply) for reply in replies] == [Unavailable] * TECHNICIAN_COUNT
    assert all(isinstance(reply, CalloutError) and reply.temporary for reply in replies)
    engine.store.zones[DEFAULT_ZONE].open = True
    await send_all(engine, crowd, 40.755)
    assert await latitudes(engine, crowd) == {40.755}


async def test_more_fixes_than_may_wait_are_refused(
    engine: Engine, crowd: list[Principal], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a limited number of fixes may wait for a call of Redis. Further fixes are refused as `unavailable` at once,
    and the waiting fixes are stored.
    """
    monkeypatch.setattr("engine.store.fix_batches.MAX_WAITING", 70)
    replies = await send_all(engine, crowd, 40.756)
    assert [isinstance(reply, Unavailable) for reply in replies] == [False] * 70 + [True] * 10
    assert await latitudes(engine, crowd[:70]) == {40.756}


async def test_the_fixes_of_a_batch_count_in_the_order_of_the_device(engine: Engine, crowd: list[Principal]) -> None:
    """Of several fixes of one device all count, in the order of their times: the newest is the position, and a jump
    between them is noticed.
    """
    who, now = crowd[0], int(await engine.store.redis.hget(record_key(crowd[0]), "fix_at") or 0)
    fixes = [Fix(lat=lat, lon=-73.99, at=now + step * 10) for step, lat in ((3, 40.7506), (1, 40.7502), (2, 41.9))]
    await asyncio.sleep(0.05)
    await live.store_fixes(engine, who, who.id, fixes)
    assert await latitudes(engine, [who]) == {40.7506}
