"""Leases of zones: processes share them fairly, and a process that stops passes them on."""

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
async def twelve_zones(settings: Settings) -> AsyncIterator[Engine]:
    """An engine of twelve zones."""
    Path(settings.data).mkdir(exist_ok=True)
    async with open_engine(msgspec.structs.replace(settings, zones=ZONES)) as opened:
        yield opened


def node(engine: Engine, lease_s: float = 30.0) -> Leases:
    """Return a process that looks for leases only when the test says so."""
    return Leases(engine.store, "scheduler", lease_s)


async def look(*nodes: Leases, rounds: int = 6, zones: list[str] = ZONES) -> list[int]:
    """Let each process look at each of its zones in turn, several times. Return how many zones each then holds."""
    for _ in range(rounds):
        for leases in nodes:
            for zone in zones:
                if zone in leases._known:
                    leases._known[Zone(zone)].due = 0.0
                await leases.holds(Zone(zone))
    return [len(leases.mine) for leases in nodes]


async def test_three_processes_of_twelve_zones_hold_four_each(twelve_zones: Engine) -> None:
    """A process with more than its share gives leases back, and each zone has one holder."""
    first, second, third = node(twelve_zones), node(twelve_zones), node(twelve_zones)
    assert await look(first) == [12]
    assert await look(first, second) == [6, 6]
    assert await look(first, second, third) == [4, 4, 4]
    assert len(first.mine | second.mine | third.mine) == 12
    before = [set(each.mine) for each in (first, second, third)]
    await look(first, second, third, rounds=4)
    assert [each.mine for each in (first, second, third)] == before


async def test_released_leases_are_taken_by_the_others(twelve_zones: Engine) -> None:
    """After a process stops its leases are free at once, and it is no longer counted."""
    first, second, third = node(twelve_zones), node(twelve_zones), node(twelve_zones)
    await look(first, second, third)
    await third.give_back()
    assert await look(first, second) == [6, 6]
    await second.give_back()
    assert await look(first) == [12]
    await first.give_back()
    redis = twelve_zones.store.redis
    assert await redis.exists(*(keys.runner_lease(Zone(zone), "scheduler") for zone in ZONES)) == 0


async def test_a_process_without_heartbeats_is_no_longer_counted(twelve_zones: Engine) -> None:
    """Its leases expire, and so does its entry among the candidates."""
    gone, left = node(twelve_zones, 0.2), node(twelve_zones, 0.2)
    await look(gone, left, rounds=3)

    async def all_ours() -> bool:
        return await look(left, rounds=1) == [12]

    await wait_until(all_ours, what="the other's zones", within_s=20)


async def test_a_zone_that_nobody_else_serves_is_taken_above_the_share(twelve_zones: Engine) -> None:
    """When one of two processes serves few zones, every zone has a holder, and none moves back and forth."""
    whole, part = node(twelve_zones), node(twelve_zones)
    for _ in range(8):
        await look(whole, rounds=1)
        await look(part, rounds=1, zones=ZONES[:2])
    assert len(whole.mine | part.mine) == 12 and not whole.mine & part.mine
    before = set(whole.mine)
    await look(whole, rounds=3)
    assert whole.mine == before


async def test_a_closed_zone_has_no_holder(twelve_zones: Engine) -> None:
    """A closed zone is not leased, and does not count for the share."""
    one = node(twelve_zones)
    await look(one)
    twelve_zones.store.close_zone(Zone("z3"), "a test")
    assert await look(one) == [11]
    assert Zone("z3") not in one.mine


@pytest.mark.parametrize("role", ["scheduler", "push", "archiver"])
async def test_each_role_releases_its_lease_when_it_stops(engine: Engine, role: str) -> None:
    """The next process starts at once, and not when the lease has expired."""
    loops = {"scheduler": scheduler.run, "push": notifier.run, "archiver": archiver.run}
    running = asyncio.create_task(loops[role](engine))
    held = keys.runner_lease(DEFAULT_ZONE, role)

    async def is_held() -> bool:
        return bool(await engine.store.redis.exists(held))

    await wait_until(is_held, what="the lease")
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert not await is_held()
    assert not await engine.store.redis.exists(keys.runner_candidates(DEFAULT_ZONE, role))
