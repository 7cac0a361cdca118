"""A real Redis Cluster of three primaries under load: zones on different nodes, slots that move, nodes that fail."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from engine.domain import booking, jobs
from engine.domain.booking import Booking
from engine.errors import Indeterminate, Unavailable
from engine.process.settings import Settings
from engine.rules.polygons import parse_polygons
from engine.rules.zone_areas import ZoneArea
from engine.store import keys
from engine.store.cluster import ClusterShards
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, Zone, zone_of
from engine.workers import scheduler
from tests.server.gateway.conftest import Node, running_node
from tests.support import people
from tests.support.cluster import Cluster, run_cluster
from tests.support.process import FinishedCommand, run_callout
from tests.support.wait import wait_until

T = TypeVar("T")
NORTH, SOUTH = Zone("north"), Zone("south")
LATITUDES = {DEFAULT_ZONE: 1.0, NORTH: 55.0, SOUTH: -55.0}
CONCURRENT_BOOKINGS = 24
"""How many bookings run during each change of the cluster."""


def band(south: float, north: float) -> dict[str, object]:
    """Return the area between two latitudes as a GeoJSON Polygon."""
    return {"type": "Polygon", "coordinates": [[[0, south], [30, south], [30, north], [0, north], [0, south]]]}


AREAS = (ZoneArea(NORTH, parse_polygons(band(50, 60))), ZoneArea(SOUTH, parse_polygons(band(-60, -50))))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Run one cluster for all tests of this module."""
    with run_cluster(tmp_path_factory.mktemp("cluster")) as running:
        yield running


@pytest.fixture
async def node(cluster: Cluster, tmp_path: Path) -> AsyncIterator[Node]:
    """Yield a gateway with three zones on an empty cluster."""
    cluster.empty()
    data, zones = str(tmp_path / "data"), tuple(LATITUDES)
    settings = Settings(data=data, redis=cluster.url, limits="off", zones=zones, zone_areas=AREAS)
    async with running_node(settings) as opened:
        yield opened


async def until_done(call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call until it is neither unavailable nor indeterminate."""
    while True:
        try:
            return await call()
        except (Unavailable, Indeterminate):
            await asyncio.sleep(0.05)


class Load:
    """Bookings in all zones, each repeated under its key until it is done."""

    def __init__(self, node: Node, service: ServiceId, customer: Principal) -> None:
        self.jobs: dict[str, JobId] = {}
        self._node = node
        self.service = service
        self.customer = customer

    async def book(self, zone: Zone, key: str) -> JobId:
        """Book a job in a zone."""
        place = Booking(service=self.service, lat=LATITUDES[zone], lon=13.0, address="1 Main St")
        outcome = await until_done(lambda: booking.book_job(self._node.engine, self.customer, place, key=key))
        return people.id_of(outcome)

    async def run(self, change: Callable[[], Awaitable[object]]) -> None:
        """Make a change of the cluster while bookings run. Assert that each booking made one job in its zone, and that
        a repeat of the booking returns that job."""

        async def one(number: int) -> None:
            zone, key = list(LATITUDES)[number % 3], str(uuid.uuid4())
            await asyncio.sleep(number * 0.02)
            self.jobs[key] = job = await self.book(zone, key)
            assert zone_of(job) == zone

        tasks = [asyncio.create_task(one(number)) for number in range(CONCURRENT_BOOKINGS)]
        await asyncio.sleep(0.1)
        await change()
        await asyncio.wait_for(asyncio.gather(*tasks), 30)
        assert len(set(self.jobs.values())) == len(self.jobs)
        for key, job in self.jobs.items():
            assert await self.book(zone_of(job) or DEFAULT_ZONE, key) == job


@pytest.fixture
async def load(node: Node) -> Load:
    """Return a load of bookings."""
    return Load(node, await people.service(node.engine), await people.customer(node.engine))


async def check_events(node: Node, load: Load, client: object) -> None:
    """Assert that the customer receives exactly one `job.created` for each job."""
    heard: list[str] = []
    while len(heard) < len(load.jobs):
        push = await client.next_push()  # type: ignore[attr-defined]
        heard += [push["data"]["job"]["id"]] if push["type"] == "job.created" else []
    assert sorted(heard) == sorted(load.jobs.values())


async def test_zones_are_on_different_primaries(node: Node, cluster: Cluster, load: Load) -> None:
    """Each zone is on the primary that has the zone's slot. Jobs are booked, claimed and read in each, and one socket
    receives the events of all.
    """
    shards = node.engine.store.shards
    assert isinstance(shards, ClusterShards)
    assert len({shards.shard_of(keys.zone_meta(zone)) for zone in LATITUDES}) == 3
    for zone in LATITUDES:
        assert shards.shard_of(keys.zone_meta(zone)).name.endswith(f":{cluster.owner_of(keys.zone_meta(zone))}")
    async with node.connect(load.customer.id) as client:
        await load.run(lambda: asyncio.sleep(0))
        await check_events(node, load, client)
    tom = await people.technician(node.engine, "t1", load.service)
    job = await people.offered_job(node.engine, load.customer, load.service)
    assert (await jobs.claim(node.engine, tom, job)).message == "Job accepted"


async def test_the_commands_of_an_operator_reach_every_primary(node: Node, cluster: Cluster, tmp_path: Path) -> None:
    """`callout doctor` checks each primary and each zone. `callout zone` shows, closes and opens zones on any."""
    where = ("--data", node.engine.settings.data, "--redis", cluster.url)
    for zone in (NORTH, SOUTH):
        area = band(LATITUDES[zone] - 5, LATITUDES[zone] + 5)
        (tmp_path / f"{zone}.geojson").write_text(json.dumps(area))
    tables = (f'[zones.{zone}]\npolygon = "{zone}.geojson"\ntimezone = "UTC"\n' for zone in (NORTH, SOUTH))
    (tmp_path / "callout.toml").write_text("".join(tables))

    async def run(*words: str) -> FinishedCommand:
        done = await run_callout(*words, *where, cwd=tmp_path)
        assert "Traceback" not in done.err
        return done

    wrong = max(cluster.nodes)
    cluster.ask(wrong, "CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    report = await run("doctor", "--json")
    cluster.ask(wrong, "CONFIG", "SET", "maxmemory-policy", "noeviction")
    refused = json.loads(report.out)["findings"]
    problem = f"127.0.0.1:{wrong}: maxmemory-policy is allkeys-lru: must be noeviction"
    assert [each["problems"] for each in refused if each["name"] == "Redis"] == [[problem]]
    found = await run("doctor")
    assert (found.code, found.out.splitlines()[-1]) == (0, "no problems"), found.out
    for zone in LATITUDES:
        assert (await run("zone", "close", zone)).code == 0
        assert f"{zone}: state paused" in (await run("zone", "status", zone)).out
        assert f"zone {zone} is open in epoch" in (await run("zone", "open", zone)).out


async def test_a_slot_moves_while_its_zone_is_busy(node: Node, cluster: Cluster, load: Load) -> None:
    """A zone's slot moves to a primary that the engine knows, then to an empty one that has just joined, which gets the
    script library. Meanwhile each booking happens once, and the socket receives each event once.
    """
    key = keys.zone_meta(NORTH)
    async with node.connect(load.customer.id) as client:
        owner = cluster.owner_of(key)
        other = next(port for port in list(cluster.nodes)[:3] if port != owner)
        await load.run(lambda: asyncio.to_thread(cluster.move_slot, key, other))
        assert node.engine.store.zones[NORTH].shard.name.endswith(f":{other}")
        empty = await asyncio.to_thread(cluster.start_node)
        await asyncio.to_thread(cluster.join, empty)
        assert cluster.ask(empty, "FUNCTION", "LIST") == []
        await load.run(lambda: asyncio.to_thread(cluster.move_slot, key, empty))
        assert node.engine.store.zones[NORTH].shard.name.endswith(f":{empty}")
        assert len(cluster.ask(empty, "FUNCTION", "LIST")) == 1
        await check_events(node, load, client)


async def test_a_failover_that_is_asked_for(node: Node, cluster: Cluster, load: Load) -> None:
    """After ``CLUSTER FAILOVER`` the zone continues at its former replica."""
    owner = cluster.owner_of(keys.zone_meta(SOUTH))
    replica = await asyncio.to_thread(cluster.add_replica, owner)
    async with node.connect(load.customer.id) as client:
        await load.run(lambda: asyncio.to_thread(cluster.ask, replica, "CLUSTER", "FAILOVER"))
        await wait_until(lambda: cluster.owner_of(keys.zone_meta(SOUTH)) == replica, within_s=10)
        await load.run(lambda: asyncio.sleep(0))
        assert node.engine.store.zones[SOUTH].shard.name.endswith(f":{replica}")
        await check_events(node, load, client)


async def test_a_primary_is_killed(node: Node, cluster: Cluster, load: Load) -> None:
    """A killed primary is replaced by its replica. Meanwhile the other zones continue, also with the jobs of a customer
    whose account is on that primary.
    """
    key = keys.zone_meta(DEFAULT_ZONE)
    owner = cluster.owner_of(key)
    while cluster.owner_of(keys.account(load.customer.id)) != owner:
        load.customer = await people.customer(node.engine)
    replica = await asyncio.to_thread(cluster.add_replica, owner)
    async with node.connect(load.customer.id) as client:
        key_of_north = str(uuid.uuid4())
        load.jobs[key_of_north] = await load.book(NORTH, key_of_north)

        async def kill() -> None:
            cluster.kill(owner)
            for _ in range(10):
                await asyncio.wait_for(scheduler.run_once(node.engine, NORTH), 1)

        await load.run(kill)
        assert cluster.owner_of(key) == replica
        await wait_until(lambda: node.gateway.live.is_subscribed, within_s=10)
        await check_events(node, load, client)
