"""The position feed: who receives the position of a job's technician, with its age, and who must not receive it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.blueprint import catalogue
from engine.clock import now_ms
from engine.domain import codes, jobs, positions
from engine.domain.commands import CommandInput
from engine.domain.positions import PublishedFix
from engine.errors import NotFound
from engine.events import ms_of
from engine.process.settings import Settings
from engine.store import keys
from engine.technicians import live
from engine.technicians.live import Fix
from engine.types import DEFAULT_ZONE, JobId, Principal, Role, ServiceId, TechnicianId, UserId
from engine.workers import scheduler
from server.gateway import live_feed
from server.gateway.frames import MsgpackFrames
from server.schemas.positions import Position
from tests.server.gateway.conftest import Client, Node, running_node
from tests.support import people
from tests.support.wait import wait_until

POSITION_EVENT_TOML = '\n[events.position]\nto = ["customer"]\nas = "delivery:location:update"\n'


class JobUnderWay:
    """A job whose technician is on the way, with its customer and its technician."""

    def __init__(self, node: Node, customer: Principal, driver: Principal, job: JobId) -> None:
        self.node, self.customer, self.driver, self.job = node, customer, driver, job

    async def send_fix(self, lat: float, *, ago_s: float | None = None, heading: float | None = None) -> None:
        """Send a fix as the technician. It was measured ``ago_s`` seconds ago; None: it names no time."""
        at = None if ago_s is None else now_ms() - round(ago_s * 1000)
        fix = Fix(lat=lat, lon=-73.99, at=at, heading=heading)
        await live.store_fixes(self.node.engine, self.driver, self.driver.id, [fix])


async def start_job(
    node: Node, driver: str = "t1", service: ServiceId | None = None, *, departs: bool = True, **more: Any
) -> JobUnderWay:
    """Book a job and claim it as ``driver``, who departs unless ``departs`` is False."""
    service = service or await people.service(node.engine)
    customer = await people.customer(node.engine)
    who = await people.technician(node.engine, driver, service)
    job = await people.offered_job(node.engine, customer, service, **more)
    await jobs.claim(node.engine, who, job)
    if departs:
        await jobs.run_command(node.engine, who, job, CommandInput(command="depart"))
    await _age_last_fix(node, driver)
    await wait_until_listening(node)
    return JobUnderWay(node, customer, who, job)


async def _age_last_fix(node: Node, driver: str) -> None:
    """Set the time of the last fix to 1 ms. Going online counts as a fix, and the next fix must be at least one
    millisecond later.
    """
    record = keys.technician(DEFAULT_ZONE, TechnicianId(UserId(driver)))
    await node.engine.store.redis.hset(record, "fix_at", 1)


async def wait_until_listening(node: Node) -> None:
    """Wait until this gateway has subscribed: what is published before is lost. The number of subscribers that Redis
    reports cannot be used, because the previous test's gateway may still be counted.
    """
    await wait_until(lambda: node.gateway.live.is_subscribed)


async def next_position(client: Client) -> dict[str, Any]:
    """Return the next position that a client receives. Other pushes before it are dropped."""
    while (push := await client.next_push())["type"] != "position":
        pass
    return push


async def assert_no_position(client: Client) -> None:
    """Assert that this client has received no position."""
    await client.request(op="ping")
    assert [push for push in client.pushes if push["type"] == "position"] == []


# Positions that are not sent


async def test_strangers_receive_no_position(node: Node) -> None:
    """Other customers, other technicians, the job's own technician and staff who are not ops receive no position.
    Strangers may not subscribe to the job.
    """
    first, other = await start_job(node), await start_job(node, "t2")
    outside: dict[str, Role] = {other.customer.id: "customer", "t2": "technician", "t1": "technician", "m": "mediator"}
    async with AsyncExitStack() as stack:
        boss = await stack.enter_async_context(node.connect("boss", "admin"))
        clients = {name: await stack.enter_async_context(node.connect(name, role)) for name, role in outside.items()}
        for name in set(outside) - {"t1"}:
            refused = await clients[name].request(op="subscribe", channel=f"job:{first.job}")
            assert refused["error"]["code"] == "not_found"
        await first.send_fix(40.76)
        assert (await next_position(boss))["data"]["job"] == first.job
        for client in clients.values():
            await assert_no_position(client)


async def test_a_technician_without_a_job_publishes_nothing(node: Node) -> None:
    """A fix of a technician who holds no job is not published, and ops do not receive it."""
    service = await people.service(node.engine)
    idle = await people.technician(node.engine, "idle", service)
    busy = await start_job(node, service=service)
    async with node.engine.store.redis.pubsub() as channel, node.connect("boss", "admin") as boss:
        await channel.ssubscribe(keys.live_channel(DEFAULT_ZONE))
        await _age_last_fix(node, "idle")
        await live.store_fixes(node.engine, idle, "idle", [Fix(lat=40.7, lon=-74.0)])
        await busy.send_fix(40.76)
        assert (await next_position(boss))["data"]["job"] == busy.job
        while (message := await channel.get_message(timeout=5)) is None or message["type"] != "smessage":
            pass
        assert msgspec.json.decode(message["data"])["technician"] == "t1"


async def test_an_older_fix_is_ignored(node: Node) -> None:
    """A fix that is older than the last one is not sent, and the position of the job does not move back."""
    trip = await start_job(node)
    async with node.connect(trip.customer.id) as client:
        await trip.send_fix(40.76, ago_s=5)
        assert (await next_position(client))["data"]["lat"] == 40.76
        await trip.send_fix(40.75, ago_s=9)
        await trip.send_fix(40.77, ago_s=1)
        assert (await next_position(client))["data"]["lat"] == 40.77
        await trip.send_fix(40.70, ago_s=20)
        await assert_no_position(client)
    position = await positions.read_position(node.engine, trip.customer, trip.job)
    assert position is not None and position.lat == 40.77


Commands = tuple[CommandInput, ...]
FINAL_STEPS = tuple(CommandInput(command=command) for command in ("arrive", "start", "complete"))


@pytest.mark.parametrize(
    ("steps", "by_ops"),
    [
        (FINAL_STEPS, False),
        ((CommandInput(command="unassign", reason="flat tyre"),), False),
        ((CommandInput(command="reassign", reason="nearer", technician="t2"),), True),
    ],
    ids=["done", "unassigned", "reassigned"],
)
async def test_no_position_is_sent_after_the_end_of_the_work(node: Node, steps: Commands, by_ops: bool) -> None:
    """After the job is completed, unassigned or reassigned, no fix of its technician is sent, also none that was
    published just before."""
    service = await people.service(node.engine)
    trip = await start_job(node, service=service)
    await people.technician(node.engine, "t2", service)
    async with node.connect(trip.customer.id) as client, node.connect("boss", "admin") as boss:
        await trip.send_fix(40.76, heading=90.0)
        await next_position(client)
        for step in steps[:-1]:
            await jobs.run_command(node.engine, trip.driver, trip.job, step)
        late_fix = await _published_fix(trip)
        last = await jobs.run_command(node.engine, people.ADMIN if by_ops else trip.driver, trip.job, steps[-1])
        await node.wait_until_relayed(last.seq)
        assert (await next_position(boss))["data"]["lat"] == 40.76
        await trip.send_fix(40.78)
        node.gateway.positions.resend_stale_positions()
        node.gateway.positions.drop_tracks()
        node.gateway.positions.handle_fix(DEFAULT_ZONE, late_fix)
        await assert_no_position(client)
        await assert_no_position(boss)
    position = await positions.read_position(node.engine, trip.customer, trip.job)
    assert (position and position.lat) == (40.76 if steps == FINAL_STEPS else None)


async def test_no_position_is_sent_while_payment_is_due(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the work is completed, no position is sent, although the job is neither confirmed nor paid. For a day the
    customer can read the last position from before the end of the work; then only ops can.
    """
    service, customer = await people.service(node.engine), await people.customer(node.engine)
    who = await people.technician(node.engine, "t1", service)
    job = people.id_of(await people.job(node.engine, customer, service, blueprint="marketplace", technician="t1"))
    await jobs.run_command(node.engine, who, job, CommandInput(command="accept"))
    trip = JobUnderWay(node, customer, who, job)
    await _age_last_fix(node, "t1")
    await wait_until_listening(node)
    async with node.connect(customer.id, subs=[f"job:{job}"]) as client:
        await trip.send_fix(40.76)
        await next_position(client)
        late_fix = await _published_fix(trip, "scheduled")
        for name, purpose in (("start", "start"), ("complete", "completion")):
            code = codes.derive_code(node.engine, job, purpose, "1")
            outcome = await jobs.run_command(node.engine, who, job, CommandInput(command=name, code=code))
        await node.wait_until_relayed(outcome.seq)
        await trip.send_fix(40.78)
        node.gateway.positions.drop_tracks()
        node.gateway.positions.handle_fix(DEFAULT_ZONE, late_fix)
        await assert_no_position(client)
    position = await positions.read_position(node.engine, customer, job)
    assert position is not None and position.lat == 40.76
    monkeypatch.setattr(positions, "VISIBLE_AFTER_END_MS", -1)
    assert await positions.read_position(node.engine, customer, job) is None
    assert await positions.read_position(node.engine, people.ADMIN, job) is not None


async def test_a_former_holders_departure_does_not_share_the_next_position(node: Node) -> None:
    """The first holder departed and gave the job up. The second holder never departed, so the customer cannot read
    their position after the job is cancelled.
    """
    service = await people.service(node.engine)
    trip = await start_job(node, service=service)
    two = await people.technician(node.engine, "t2", service)
    await jobs.run_command(node.engine, trip.driver, trip.job, CommandInput(command="unassign", reason="flat tyre"))
    await scheduler.open_wave(node.engine, DEFAULT_ZONE, trip.job, 1)
    await jobs.claim(node.engine, two, trip.job)
    await jobs.run_command(node.engine, trip.customer, trip.job, CommandInput(command="cancel"))
    assert await positions.read_position(node.engine, trip.customer, trip.job) is None
    assert await positions.read_position(node.engine, people.ADMIN, trip.job) is not None


async def test_no_position_is_sent_for_an_unknown_blueprint(node: Node) -> None:
    """A gateway that does not know the version of the blueprint sends no position, because only the blueprint declares
    the recipients.
    """
    trip = await start_job(node)
    async with node.connect(trip.customer.id) as client, node.connect("boss", "admin") as boss:
        fix = await _published_fix(trip)
        unknown = [msgspec.structs.replace(job, bp="home_service@99") for job in fix.jobs]
        node.gateway.positions.handle_fix(DEFAULT_ZONE, msgspec.structs.replace(fix, jobs=unknown))
        await assert_no_position(client)
        await assert_no_position(boss)


@pytest.mark.parametrize("departs", [False, True])
async def test_the_customer_receives_no_position_before_it_is_shared(node: Node, departs: bool) -> None:
    """The customer receives no position before the blueprint's ``track_from``; ops receive it. While the technician is
    offline nobody receives a position. Customers and services cannot read it either.
    """
    trip = await start_job(node, departs=departs)
    async with node.connect(trip.customer.id, subs=[f"job:{trip.job}"]) as carla, node.connect("boss", "admin") as boss:
        if departs:
            await live.set_availability(node.engine, trip.driver, "t1", online=False)
        await trip.send_fix(40.76)
        if not departs:
            assert (await next_position(boss))["data"]["lat"] == 40.76
        await assert_no_position(carla)
        await assert_no_position(boss)
    assert await positions.read_position(node.engine, trip.customer, trip.job) is None
    assert await positions.read_position(node.engine, Principal(UserId("pay"), "service"), trip.job) is None
    assert await positions.read_position(node.engine, people.ADMIN, trip.job) is not None


async def test_a_fix_published_before_going_offline_is_not_sent(node: Node) -> None:
    """A fix that was published before the technician went offline, and arrives after the event in the log, is
    not sent.
    """
    trip = await start_job(node)
    async with node.connect(trip.customer.id) as client, node.connect("boss", "admin") as boss:
        late_fix = await _published_fix(trip)
        await live.set_availability(node.engine, trip.driver, "t1", online=False)
        while (await boss.next_push())["type"] != "technician.status":
            pass
        node.gateway.positions.handle_fix(DEFAULT_ZONE, late_fix)
        await assert_no_position(client)


@pytest.mark.parametrize(("minutes", "shared"), [(90, False), (50, True)])
async def test_positions_of_a_scheduled_job_start_an_hour_before(node: Node, minutes: int, shared: bool) -> None:
    """The customer receives positions at the earliest ``track_lead_s`` before the job's time, even if the job's state
    allows it earlier. Ops receive them at any time.
    """
    service, customer = await people.service(node.engine), await people.customer(node.engine)
    who = await people.technician(node.engine, "t1", service)
    at = now_ms() + minutes * 60_000
    booking_fields = {"blueprint": "direct_booking", "technician": "t1", "scheduled_for": at}
    job = people.id_of(await people.job(node.engine, customer, service, **booking_fields))
    await jobs.run_command(node.engine, who, job, CommandInput(command="accept"))
    await _age_last_fix(node, "t1")
    await wait_until_listening(node)
    async with node.connect(customer.id) as client, node.connect("boss", "admin") as boss:
        await JobUnderWay(node, customer, who, job).send_fix(40.76)
        assert (await next_position(boss))["data"]["job"] == job
        if shared:
            assert (await next_position(client))["data"]["job"] == job
        await assert_no_position(client)
    assert (await positions.read_position(node.engine, customer, job) is not None) == shared


async def _published_fix(trip: JobUnderWay, status: str = "on_the_way") -> PublishedFix:
    """Return a fix as the script publishes it now, without publishing it."""
    head = await trip.node.engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "seq")
    record = await trip.node.engine.store.redis.hget(keys.job(DEFAULT_ZONE, trip.job), "bp")
    job = {"id": trip.job, "bp": (record or b"").decode(), "customer": trip.customer.id, "status": status}
    fix = {"technician": trip.driver.id, "lat": 40.77, "lon": -73.99, "at": now_ms(), "seq": int(head or 0)}
    return msgspec.convert({**fix, "kind": "fix", "jobs": [job]}, PublishedFix)


# Positions that are sent


async def test_followers_of_a_job_receive_positions(node: Node) -> None:
    """The customer on each connection, ops and subscribers receive a position, as a frame without a seq."""
    trip = await start_job(node)
    async with (
        node.connect(trip.customer.id) as phone,
        node.connect(trip.customer.id) as laptop,
        node.connect("boss", "ops_manager") as boss,
        node.connect("pay", "service", subs=[f"job:{trip.job}"]) as watcher,
    ):
        await trip.send_fix(40.76, heading=270.5)
        for client in (phone, laptop, boss, watcher):
            push = await next_position(client)
            assert {"type", "event", "at", "data"} == set(push)
            position = msgspec.convert(push["data"], Position)
            assert (position.job, position.lat, position.lon, position.heading) == (trip.job, 40.76, -73.99, 270.5)
            assert position.age_s < 30 and not position.stale
        await watcher.request(op="unsubscribe", channel=f"job:{trip.job}")
        await trip.send_fix(40.77)
        assert (await next_position(phone))["data"]["lat"] == 40.77
        await assert_no_position(watcher)


async def test_an_old_fix_is_sent_as_stale(node: Node) -> None:
    """A position has the time and the age of its fix. Over 30 s old it is `stale`."""
    trip = await start_job(node)
    async with node.connect(trip.customer.id) as client:
        await trip.send_fix(40.76, ago_s=40)
        position = (await next_position(client))["data"]
        assert position["stale"] is True and position["age_s"] >= 40
        assert ms_of(position["at"]) <= now_ms() - 40_000
    last_position = await positions.read_position(node.engine, trip.customer, trip.job)
    assert last_position is not None and last_position.stale


async def test_a_last_position_becomes_stale(node: Node) -> None:
    """If no fix follows, the last position is sent once more as `stale` after 30 s, and not again."""
    trip = await start_job(node)
    async with node.connect(trip.customer.id) as client:
        await trip.send_fix(40.76, ago_s=29)
        first, second = await next_position(client), await next_position(client)
        assert (first["data"]["stale"], second["data"]["stale"]) == (False, True)
        assert first["data"]["at"] == second["data"]["at"]
        node.gateway.positions.resend_stale_positions()
        await assert_no_position(client)


async def test_the_latest_position_of_a_burst_is_sent(node: Node) -> None:
    """Of many fixes in a short time only some are sent, in order. The last one is always sent."""
    trip = await start_job(node)
    async with node.connect(trip.customer.id) as client:
        for step in range(60):
            await trip.send_fix(40.70 + step / 1000, ago_s=(60 - step) / 10)
        latitudes = []
        while not latitudes or latitudes[-1] != pytest.approx(40.759):
            latitudes.append((await next_position(client))["data"]["lat"])
        assert latitudes == sorted(latitudes) and len(latitudes) < 60
        assert node.gateway.counters.sent_positions == len(latitudes)


async def test_a_fix_is_sent_for_both_jobs_of_a_technician(node: Node) -> None:
    """A fix of a technician with two jobs is sent once to the customer of each job."""
    service = await people.service(node.engine)
    driver = await people.technician(node.engine, "t1", service, capacity=2)
    customers = [await people.customer(node.engine) for _ in range(2)]
    both_jobs = [await people.offered_job(node.engine, who, service) for who in customers]
    for job in both_jobs:
        await jobs.claim(node.engine, driver, job)
        await jobs.run_command(node.engine, driver, job, CommandInput(command="depart"))
    await _age_last_fix(node, "t1")
    await wait_until_listening(node)
    async with node.connect(customers[0].id) as one, node.connect(customers[1].id) as two:
        await live.store_fixes(node.engine, driver, "t1", [Fix(lat=40.76, lon=-73.9)])
        assert [(await next_position(client))["data"]["job"] for client in (one, two)] == both_jobs
        for client in (one, two):
            await assert_no_position(client)


@pytest.fixture
async def node_with_named_event(settings: Settings, tmp_path: Path) -> AsyncIterator[Node]:
    """Run a gateway whose blueprint names the position event and sends it to the customer only."""
    folder = tmp_path / "blueprints"
    folder.mkdir()
    (folder / "home_service.toml").write_text(
        (catalogue.shipped_folder() / "home_service.toml").read_text() + POSITION_EVENT_TOML
    )
    async with running_node(msgspec.structs.replace(settings, blueprints=str(folder))) as node:
        yield node


async def test_a_blueprint_chooses_name_and_recipients_of_positions(node_with_named_event: Node) -> None:
    """A position has the event name and the recipients that the blueprint of the job declares."""
    trip = await start_job(node_with_named_event)
    async with (
        node_with_named_event.connect(trip.customer.id) as client,
        node_with_named_event.connect("boss", "admin") as boss,
    ):
        await trip.send_fix(40.76)
        push = await next_position(client)
        assert (push["type"], push["event"]) == ("position", "delivery:location:update")
        await assert_no_position(boss)


async def test_the_feed_continues_after_a_lost_connection(node: Node) -> None:
    """A gateway that loses its connection to Redis counts a gap, subscribes again, and sends the next fix."""
    trip = await start_job(node)
    async with node.connect(trip.customer.id) as client:
        before = node.gateway.counters.position_feed_gaps
        await node.engine.store.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await wait_until(lambda: node.gateway.counters.position_feed_gaps > before)
        await wait_until_listening(node)
        await trip.send_fix(40.76)
        assert (await next_position(client))["data"]["lat"] == 40.76


async def test_an_idle_connection_is_pinged_and_a_dead_one_replaced(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle connection to Redis is pinged, which does not count as a gap. Without a reply the gateway counts a gap
    and opens a new connection.
    """
    monkeypatch.setattr(live_feed, "MAX_REDIS_SILENCE_S", 0.8)
    async with running_node(settings) as node:
        store, counters = node.engine.store.redis, node.gateway.counters

        async def ping_count() -> int:
            stats = await store.info("commandstats")
            return int(stats.get("cmdstat_ping", {}).get("calls", 0))

        await wait_until_listening(node)
        before, gaps = await ping_count(), counters.position_feed_gaps

        async def is_pinged_twice() -> bool:
            return await ping_count() >= before + 2

        await wait_until(is_pinged_twice)
        assert counters.position_feed_gaps == gaps
        await store.execute_command("CLIENT", "PAUSE", 2_500, "ALL")
        await wait_until(lambda: counters.position_feed_gaps > gaps)
        trip = await start_job(node)
        async with node.connect(trip.customer.id) as client:
            next_one = asyncio.create_task(next_position(client))

            async def is_position_received() -> bool:
                await trip.send_fix(40.76)
                return next_one.done()

            await wait_until(is_position_received)
            assert (await next_one)["data"]["lat"] == 40.76


async def test_both_subprotocols_send_the_same_position(node: Node) -> None:
    """A position has the same members in JSON and in MessagePack."""
    trip = await start_job(node)
    token = await node.token(trip.customer.id)
    packed = {"subprotocols": [MsgpackFrames.subprotocol]}
    async with node.connect(trip.customer.id) as plain, node.open_socket(**packed) as other:
        await other.socket.send(msgspec.msgpack.encode({"id": 1, "op": "connect", "token": token}))
        while "id" not in msgspec.msgpack.decode(await other.socket.recv()):
            pass
        await trip.send_fix(40.76)
        json_push = await next_position(plain)
        while (push := msgspec.msgpack.decode(await other.socket.recv())).get("type") != "position":
            pass
        same = ("job", "lat", "lon", "at", "stale")
        assert [push["data"][name] for name in same] == [json_push["data"][name] for name in same]


async def test_only_followers_of_a_job_may_track_it(node: Node) -> None:
    """The sides of a job, ops and services can read its position. All other callers get NotFound."""
    service = await people.service(node.engine)
    loser = await people.technician(node.engine, "loser", service)
    trip = await start_job(node, service=service)
    for caller in (loser, Principal(UserId("x"), "customer"), Principal(UserId("m"), "mediator")):
        with pytest.raises(NotFound):
            await positions.read_position(node.engine, caller, trip.job)
    await trip.send_fix(40.76, heading=12.0)
    for caller in (trip.customer, trip.driver, people.ADMIN, Principal(UserId("pay"), "service")):
        position = await positions.read_position(node.engine, caller, trip.job)
        assert position is not None
        assert (position.job, position.lat, position.heading, position.stale) == (trip.job, 40.76, 12.0, False)
    waiting = await people.offered_job(node.engine, trip.customer, await people.service(node.engine))
    assert await positions.read_position(node.engine, trip.customer, waiting) is None
