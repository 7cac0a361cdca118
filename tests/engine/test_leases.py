"""Leases of zones: shared fairly between processes, and handed on when one goes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from engine.process.settings import Settings
from engine.runtime import Engine, open_engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, Zone
from engine.workers import archiver, notifier, scheduler
from engine.zone.leases import Leases
from tests.support.wait import wait_until

ZONES = [f"z{number}" for number in range(12)]


@pytest.fixture
async def city(settings: Settings) -> AsyncIterator[Engine]:
    """An engine of twelve zones."""
    Path(settings.data).mkdir(exist_ok=True)
    async with open_engine(msgspec.structs.replace(settings, zones=ZONES)) as opened:
        yield opened


def node(engine: Engine, lease_s: float = 30.0) -> Leases:
    """A process that looks whenever it is asked to."""
    return Leases(engine.store, "scheduler", lease_s)


async def look(*nodes: Leases, rounds: int = 6, zones: list[str] = ZONES) -> list[int]:
    """Each looks at each of its zones in turn, several times; returns how many zones each then holds."""
    for _ in range(rounds):
        for leases in nodes:
            for zone in zones:
                if zone in leases._known:
                    leases._known[Zone(zone)].due = 0.0
                await leases.held(Zone(zone))
    return [len(leases.mine) for leases in nodes]


async def test_three_processes_of_twelve_zones_hold_four_each(city: Engine) -> None:
    """Whoever came first gives back what is above its share; each zone has one holder."""
    first, second, third = node(city), node(city), node(city)
    assert await look(first) == [12]
    assert await look(first, second) == [6, 6]
    assert await look(first, second, third) == [4, 4, 4]
    assert len(first.mine | second.mine | third.mine) == 12
    before = [set(each.mine) for each in (first, second, third)]
    await look(first, second, third, rounds=4)
    assert [each.mine for each in (first, second, third)] == before


async def test_what_one_gives_back_the_others_take(city: Engine) -> None:
    """A process that stops leaves nothing to wait for, and is counted no longer."""
    first, second, third = node(city), node(city), node(city)
    await look(first, second, third)
    await third.give_back()
    assert await look(first, second) == [6, 6]
    await second.give_back()
    assert await look(first) == [12]
    await first.give_back()
    redis = city.store.redis
    assert await redis.exists(*(keys.runner(Zone(zone), "scheduler") for zone in ZONES)) == 0


async def test_a_process_that_fell_silent_is_counted_no_longer(city: Engine) -> None:
    """Its leases run out by themselves, and so does its place among the candidates."""
    gone, left = node(city, 0.2), node(city, 0.2)
    await look(gone, left, rounds=3)

    async def all_ours() -> bool:
        return await look(left, rounds=1) == [12]

    await wait_until(all_ours, what="the other's zones", within_s=20)


async def test_a_zone_that_nobody_else_serves_is_taken_above_the_share(city: Engine) -> None:
    """One of two processes serves few zones: none stays without a holder, and none is passed back and forth."""
    whole, part = node(city), node(city)
    for _ in range(8):
        await look(whole, rounds=1)
        await look(part, rounds=1, zones=ZONES[:2])
    assert len(whole.mine | part.mine) == 12 and not whole.mine & part.mine
    before = set(whole.mine)
    await look(whole, rounds=3)
    assert whole.mine == before


async def test_a_closed_zone_is_nobodys(city: Engine) -> None:
    """It is not held, and does not count for the share."""
    one = node(city)
    await look(one)
    city.store.close_zone(Zone("z3"), "a test")
    assert await look(one) == [11]
    assert Zone("z3") not in one.mine


@pytest.mark.parametrize("role", ["scheduler", "push", "archiver"])
async def test_each_role_gives_its_lease_back_when_it_stops(engine: Engine, role: str) -> None:
    """The next process begins at once, not when the lease has run out."""
    loops = {"scheduler": scheduler.run, "push": notifier.run, "archiver": archiver.run}
    running = asyncio.create_task(loops[role](engine))
    held = keys.runner(DEFAULT_ZONE, role)

    async def is_held() -> bool:
        return bool(await engine.store.redis.exists(held))

    await wait_until(is_held, what="the lease")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not await is_held()
    assert not await engine.store.redis.exists(keys.runners(DEFAULT_ZONE, role))
