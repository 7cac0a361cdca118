"""Runner leases of zones: processes share them evenly, and when a process stops, others acquire its leases."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from engine.process.settings import Settings
from engine.runtime import Engine
from engine.startup import open_engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, Zone
from engine.workers import archiver, notifier, scheduler
from engine.zone.leases import Leases
from tests.support.closed_zone import closed_zone
from tests.support.wait import wait_until

ZONES = [f"z{number}" for number in range(12)]


@pytest.fixture
async def twelve_zones(settings: Settings) -> AsyncIterator[Engine]:
    """Yield an engine that serves twelve zones."""
    Path(settings.data).mkdir(exist_ok=True)
    async with open_engine(msgspec.structs.replace(settings, zones=ZONES)) as opened:
        yield opened


def process_leases(engine: Engine, lease_s: float = 30.0) -> Leases:
    """Return the leases of a new process. They are checked only when a test calls `check_leases`."""
    return Leases(engine.store, "scheduler", lease_s)


async def check_leases(*nodes: Leases, rounds: int = 6, zones: list[str] = ZONES) -> list[int]:
    """Let each process take, renew or release the lease of each zone in ``zones``, ``rounds`` times. Return how many
    leases each process then holds.
    """
    for _ in range(rounds):
        for leases in nodes:
            for zone in zones:
                if zone in leases._known:
                    leases._known[Zone(zone)].next_check = 0.0
                await leases.holds_lease(Zone(zone))
    return [len(leases.held_zones) for leases in nodes]


async def test_three_processes_of_twelve_zones_hold_four_each(twelve_zones: Engine) -> None:
    """Three processes hold four of twelve zones each, and no zone has two holders. A process above its share releases
    leases, and then no lease moves any more.
    """
    first, second, third = process_leases(twelve_zones), process_leases(twelve_zones), process_leases(twelve_zones)
    assert await check_leases(first) == [12]
    assert await check_leases(first, second) == [6, 6]
    assert await check_leases(first, second, third) == [4, 4, 4]
    assert len(first.held_zones | second.held_zones | third.held_zones) == 12
    before = [set(each.held_zones) for each in (first, second, third)]
    await check_leases(first, second, third, rounds=4)
    assert [each.held_zones for each in (first, second, third)] == before


async def test_released_leases_are_acquired_by_the_others(twelve_zones: Engine) -> None:
    """When a process stops, it releases its leases, the others acquire them at once, and its share is divided among
    them.
    """
    first, second, third = process_leases(twelve_zones), process_leases(twelve_zones), process_leases(twelve_zones)
    await check_leases(first, second, third)
    await third.release_all()
    assert await check_leases(first, second) == [6, 6]
    await second.release_all()
    assert await check_leases(first) == [12]
    await first.release_all()
    redis = twelve_zones.store.redis
    assert await redis.exists(*(keys.runner_lease(Zone(zone), "scheduler") for zone in ZONES)) == 0


async def test_a_process_without_heartbeats_is_no_longer_counted(twelve_zones: Engine) -> None:
    """The leases of a process that no longer renews them expire, and another process then holds all zones."""
    stopped_process, running_process = process_leases(twelve_zones, 0.2), process_leases(twelve_zones, 0.2)
    await check_leases(stopped_process, running_process, rounds=3)

    async def holds_all_zones() -> bool:
        return await check_leases(running_process, rounds=1) == [12]

    await wait_until(holds_all_zones, what="the other's zones", within_s=20)


async def test_a_zone_that_no_other_process_serves_is_held_above_the_share(twelve_zones: Engine) -> None:
    """If one of two processes serves only two zones, the other holds the rest, above its share. Each zone has one
    holder, and no lease moves any more.
    """
    whole, part = process_leases(twelve_zones), process_leases(twelve_zones)
    for _ in range(8):
        await check_leases(whole, rounds=1)
        await check_leases(part, rounds=1, zones=ZONES[:2])
    assert len(whole.held_zones | part.held_zones) == 12 and not whole.held_zones & part.held_zones
    before = set(whole.held_zones)
    await check_leases(whole, rounds=3)
    assert whole.held_zones == before


async def test_a_closed_zone_has_no_holder(twelve_zones: Engine) -> None:
    """No process holds the lease of a closed zone, and the zone does not count for the share."""
    one = process_leases(twelve_zones)
    await check_leases(one)
    with closed_zone(twelve_zones.store, Zone("z3")):
        assert await check_leases(one) == [11]
        assert Zone("z3") not in one.held_zones


@pytest.mark.parametrize("role", ["scheduler", "push", "archiver"])
async def test_each_role_releases_its_lease_when_it_stops(engine: Engine, role: str) -> None:
    """A scheduler, notifier or archiver that stops releases its lease, so that another process need not wait until the
    lease expires.
    """
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
