"""Live positions: who is told where the technician of a job is, how old that is, and what is never told."""

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
from engine.domain.commands import Step
from engine.errors import NotFound
from engine.events import ms_of
from engine.process.settings import Settings
from engine.store import keys
from engine.technicians import live as technicians
from engine.technicians.live import Fix
from engine.types import DEFAULT_ZONE, JobId, Principal, Role, ServiceId, TechnicianId, UserId
from engine.workers import scheduler
from server.gateway import position_feed
from server.gateway.frames import MsgpackFrames
from server.schemas.positions import Position
from tests.server.gateway.conftest import Client, Node, node_of
from tests.support import people
from tests.support.wait import wait_until

NAMED = '\n[events.position]\nto = ["customer"]\nas = "delivery:location:update"\n'


class Ride:
    """A customer, a technician who holds his job, and that job."""

    def __init__(self, node: Node, customer: Principal, driver: Principal, job: JobId) -> None:
        self.node, self.customer, self.driver, self.job = node, customer, driver, job

    async def fix(self, lat: float, *, ago_s: float | None = None, heading: float | None = None) -> None:
        """The driver's app sends where he is, or was ``ago_s`` ago."""
        at = None if ago_s is None else now_ms() - round(ago_s * 1000)
        fix = Fix(lat=lat, lon=-73.99, at=at, heading=heading)
        await technicians.store_fixes(self.node.engine, self.driver, self.driver.id, [fix])


async def ride(
    node: Node, driver: str = "t1", serves: ServiceId | None = None, *, departs: bool = True, **more: Any
) -> Ride:
    """A job that ``driver`` has taken, and is on the way to."""
    serves = serves or await people.service(node.engine)
    customer = await people.customer(node.engine)
    who = await people.technician(node.engine, driver, serves)
    job = await people.offered(node.engine, customer, serves, **more)
    await jobs.claim(node.engine, who, job)
    if departs:
        await jobs.run_command(node.engine, who, job, Step(command="depart"))
    await _last_fix_is_past(node, driver)
    await heard(node)
    return Ride(node, customer, who, job)


async def _last_fix_is_past(node: Node, driver: str) -> None:
    """Going online is a fix of that millisecond; the next is one only in a later one."""
    record = keys.technician(DEFAULT_ZONE, TechnicianId(UserId(driver)))
    await node.engine.store.redis.hset(record, "fix_at", 1)


async def heard(node: Node) -> None:
    """Wait until this gateway listens: what is published before that is lost. The number of subscribers that Redis
    tells is no answer, since the last test's gateway may still be among them.
    """
    await wait_until(lambda: node.gateway.positions.is_subscribed)


async def position(client: Client) -> dict[str, Any]:
    """The next position told, whatever else comes before it."""
    while (push := await client.push())["type"] != "position":
        pass
    return push


async def nothing(client: Client) -> None:
    """No position has come to this client."""
    await client.ask(op="ping")
    assert [push for push in client.pushes if push["type"] == "position"] == []


# What is never told


async def test_strangers_are_told_nothing(node: Node) -> None:
    """Another customer, another technician, the driver himself and staff who are not ops hear of no position; nor may
    strangers subscribe to it.
    """
    mine, other = await ride(node), await ride(node, "t2")
    outside: dict[str, Role] = {other.customer.id: "customer", "t2": "technician", "t1": "technician", "m": "mediator"}
    async with AsyncExitStack() as stack:
        boss = await stack.enter_async_context(node.client("boss", "admin"))
        clients = {name: await stack.enter_async_context(node.client(name, role)) for name, role in outside.items()}
        for name in set(outside) - {"t1"}:
            refused = await clients[name].ask(op="subscribe", channel=f"job:{mine.job}")
            assert refused["error"]["code"] == "not_found"
        await mine.fix(40.76)
        assert (await position(boss))["data"]["job"] == mine.job
        for client in clients.values():
            await nothing(client)


async def test_who_holds_no_job_publishes_nothing(node: Node) -> None:
    """A technician on his way to nobody is nobody's to watch: not on the channel, nor to ops."""
    serves = await people.service(node.engine)
    idle = await people.technician(node.engine, "idle", serves)
    busy = await ride(node, serves=serves)
    async with node.engine.store.redis.pubsub() as channel, node.client("boss", "admin") as boss:
        await channel.subscribe(keys.live_channel(DEFAULT_ZONE))
        await _last_fix_is_past(node, "idle")
        await technicians.store_fixes(node.engine, idle, "idle", [Fix(lat=40.7, lon=-74.0)])
        await busy.fix(40.76)
        assert (await position(boss))["data"]["job"] == busy.job
        while (message := await channel.get_message(timeout=5)) is None or message["type"] != "message":
            pass
        assert msgspec.json.decode(message["data"])["technician"] == "t1"


async def test_an_older_fix_moves_nothing_back(node: Node) -> None:
    """What was measured earlier and arrives later is not told, and `track` stays where it was."""
    one = await ride(node)
    async with node.client(one.customer.id) as client:
        await one.fix(40.76, ago_s=5)
        assert (await position(client))["data"]["lat"] == 40.76
        await one.fix(40.75, ago_s=9)
        await one.fix(40.77, ago_s=1)
        assert (await position(client))["data"]["lat"] == 40.77
        await one.fix(40.70, ago_s=20)
        await nothing(client)
    there = await positions.read_position(node.engine, one.customer, one.job)
    assert there is not None and there.lat == 40.77


END = (Step(command="arrive"), Step(command="start"), Step(command="complete"))


@pytest.mark.parametrize(
    ("steps", "by_ops"),
    [
        (END, False),
        ((Step(command="unassign", reason="flat tyre"),), False),
        ((Step(command="reassign", reason="nearer", technician="t2"),), True),
    ],
    ids=["done", "unassigned", "reassigned"],
)
async def test_after_the_end_nothing_is_told(node: Node, steps: tuple[Step, ...], by_ops: bool) -> None:
    """Neither a fix sent after the job was done or taken from him, nor one that was on its way at that moment."""
    serves = await people.service(node.engine)
    one = await ride(node, serves=serves)
    await people.technician(node.engine, "t2", serves)
    async with node.client(one.customer.id) as client, node.client("boss", "admin") as boss:
        await one.fix(40.76, heading=90.0)
        await position(client)
        for step in steps[:-1]:
            await jobs.run_command(node.engine, one.driver, one.job, step)
        late = await _published(one)
        last = await jobs.run_command(node.engine, people.ADMIN if by_ops else one.driver, one.job, steps[-1])
        await node.relayed(last.seq)
        assert (await position(boss))["data"]["lat"] == 40.76
        await one.fix(40.78)
        node.gateway.positions.resend_stale()
        node.gateway.positions.clear()
        node.gateway.positions.handle_fix(DEFAULT_ZONE, late)
        await nothing(client)
        await nothing(boss)
    there = await positions.read_position(node.engine, one.customer, one.job)
    assert (there and there.lat) == (40.76 if steps == END else None)


async def test_who_waits_for_their_money_is_followed_by_nobody(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """The work done, though not confirmed nor paid: a fix that was on its way is not told, and `track` is where they
    were then, for a day after the end of the work.
    """
    serves, customer = await people.service(node.engine), await people.customer(node.engine)
    who = await people.technician(node.engine, "t1", serves)
    job = people.id_of(await people.job(node.engine, customer, serves, blueprint="marketplace", technician="t1"))
    await jobs.run_command(node.engine, who, job, Step(command="accept"))
    one = Ride(node, customer, who, job)
    await _last_fix_is_past(node, "t1")
    await heard(node)
    async with node.client(customer.id, subs=[f"job:{job}"]) as client:
        await one.fix(40.76)
        await position(client)
        late = await _published(one, "scheduled")
        for name, purpose in (("start", "start"), ("complete", "completion")):
            code = codes.derive_code(node.engine, job, purpose, "1")
            done = await jobs.run_command(node.engine, who, job, Step(command=name, code=code))
        await node.relayed(done.seq)
        await one.fix(40.78)
        node.gateway.positions.clear()
        node.gateway.positions.handle_fix(DEFAULT_ZONE, late)
        await nothing(client)
    there = await positions.read_position(node.engine, customer, job)
    assert there is not None and there.lat == 40.76
    monkeypatch.setattr(positions, "VISIBLE_AFTER_END_MS", -1)
    assert await positions.read_position(node.engine, customer, job) is None
    assert await positions.read_position(node.engine, people.ADMIN, job) is not None


async def test_the_way_of_a_former_holder_opens_nobody_elses(node: Node) -> None:
    """The first holder departed and left; the job of the second, who never did, is cancelled: the customer does not
    read where the second one was.
    """
    serves = await people.service(node.engine)
    one = await ride(node, serves=serves)
    two = await people.technician(node.engine, "t2", serves)
    await jobs.run_command(node.engine, one.driver, one.job, Step(command="unassign", reason="flat tyre"))
    await scheduler.open_wave(node.engine, DEFAULT_ZONE, one.job, 1)
    await jobs.claim(node.engine, two, one.job)
    await jobs.run_command(node.engine, one.customer, one.job, Step(command="cancel"))
    assert await positions.read_position(node.engine, one.customer, one.job) is None
    assert await positions.read_position(node.engine, people.ADMIN, one.job) is not None


async def test_a_job_of_an_unknown_blueprint_is_followed_by_nobody(node: Node) -> None:
    """Who may see a position only its blueprint says: the node tells nobody until it has learnt that version."""
    one = await ride(node)
    async with node.client(one.customer.id) as client, node.client("boss", "admin") as boss:
        fix = msgspec.json.decode(await _published(one))
        fix["jobs"][0]["bp"] = "home_service@99"
        node.gateway.positions.handle_fix(DEFAULT_ZONE, msgspec.json.encode(fix))
        await nothing(client)
        await nothing(boss)


@pytest.mark.parametrize("departs", [False, True])
async def test_until_it_is_shared_the_customer_is_told_nothing(node: Node, departs: bool) -> None:
    """Neither before the blueprint's ``track_from`` nor while the technician is offline: ops and the technician alone
    see where they are, and offline they are seen by nobody.
    """
    one = await ride(node, departs=departs)
    async with node.client(one.customer.id, subs=[f"job:{one.job}"]) as client, node.client("boss", "admin") as boss:
        if departs:
            await technicians.set_availability(node.engine, one.driver, "t1", online=False)
        await one.fix(40.76)
        if not departs:
            assert (await position(boss))["data"]["lat"] == 40.76
        await nothing(client)
        await nothing(boss)
    assert await positions.read_position(node.engine, one.customer, one.job) is None
    assert await positions.read_position(node.engine, Principal(UserId("pay"), "service"), one.job) is None
    assert await positions.read_position(node.engine, people.ADMIN, one.job) is not None


async def test_a_fix_on_its_way_when_they_went_offline_is_not_told(node: Node) -> None:
    """The log tells first that the technician went: what was published before is nobody's to see."""
    one = await ride(node)
    async with node.client(one.customer.id) as client, node.client("boss", "admin") as boss:
        late = await _published(one)
        await technicians.set_availability(node.engine, one.driver, "t1", online=False)
        while (await boss.push())["type"] != "technician.status":
            pass
        node.gateway.positions.handle_fix(DEFAULT_ZONE, late)
        await nothing(client)


@pytest.mark.parametrize(("minutes", "shared"), [(90, False), (50, True)])
async def test_a_scheduled_job_is_followed_an_hour_before(node: Node, minutes: int, shared: bool) -> None:
    """``track_lead_s`` before its time at the earliest, also where the state would allow it long before."""
    serves, customer = await people.service(node.engine), await people.customer(node.engine)
    who = await people.technician(node.engine, "t1", serves)
    at = now_ms() + minutes * 60_000
    booked = {"blueprint": "direct_booking", "technician": "t1", "scheduled_for": at}
    job = people.id_of(await people.job(node.engine, customer, serves, **booked))
    await jobs.run_command(node.engine, who, job, Step(command="accept"))
    await _last_fix_is_past(node, "t1")
    await heard(node)
    async with node.client(customer.id) as client, node.client("boss", "admin") as boss:
        await Ride(node, customer, who, job).fix(40.76)
        assert (await position(boss))["data"]["job"] == job
        if shared:
            assert (await position(client))["data"]["job"] == job
        await nothing(client)
    assert (await positions.read_position(node.engine, customer, job) is not None) == shared


async def _published(one: Ride, status: str = "on_the_way") -> bytes:
    """A fix as the script publishes it now, kept from the gateway."""
    head = await one.node.engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "seq")
    record = await one.node.engine.store.redis.hget(keys.job(DEFAULT_ZONE, one.job), "bp")
    job = {"id": one.job, "bp": (record or b"").decode(), "customer": one.customer.id, "status": status}
    fix = {"technician": one.driver.id, "lat": 40.77, "lon": -73.99, "at": now_ms(), "seq": int(head or 0)}
    return msgspec.json.encode({**fix, "jobs": [job]})


# What is told


async def test_those_who_follow_the_job_are_told(node: Node) -> None:
    """The customer on each of his connections, ops, and who subscribed to the job: a frame that is in no log."""
    one = await ride(node)
    async with (
        node.client(one.customer.id) as phone,
        node.client(one.customer.id) as laptop,
        node.client("boss", "ops_manager") as boss,
        node.client("pay", "service", subs=[f"job:{one.job}"]) as watcher,
    ):
        await one.fix(40.76, heading=270.5)
        for client in (phone, laptop, boss, watcher):
            push = await position(client)
            assert {"type", "event", "at", "data"} == set(push)
            told = msgspec.convert(push["data"], Position)
            assert (told.job, told.lat, told.lon, told.heading) == (one.job, 40.76, -73.99, 270.5)
            assert told.age_s < 30 and not told.stale
        await watcher.ask(op="unsubscribe", channel=f"job:{one.job}")
        await one.fix(40.77)
        assert (await position(phone))["data"]["lat"] == 40.77
        await nothing(watcher)


async def test_an_old_fix_is_told_as_stale(node: Node) -> None:
    """Sent late, it is as old as it is: its time is the fix's, and beyond 30 s it is stale."""
    one = await ride(node)
    async with node.client(one.customer.id) as client:
        await one.fix(40.76, ago_s=40)
        told = (await position(client))["data"]
        assert told["stale"] is True and told["age_s"] >= 40
        assert ms_of(told["at"]) <= now_ms() - 40_000
    there = await positions.read_position(node.engine, one.customer, one.job)
    assert there is not None and there.stale


async def test_a_position_that_nothing_follows_becomes_stale(node: Node) -> None:
    """Who watches in silence is told once more, when the last position is too old; and then no more."""
    one = await ride(node)
    async with node.client(one.customer.id) as client:
        await one.fix(40.76, ago_s=29)
        first, second = await position(client), await position(client)
        assert (first["data"]["stale"], second["data"]["stale"]) == (False, True)
        assert first["data"]["at"] == second["data"]["at"]
        node.gateway.positions.resend_stale()
        await nothing(client)


async def test_of_a_burst_the_latest_is_told(node: Node) -> None:
    """Of many fixes at once few are told, in order, and the last of all in any case."""
    one = await ride(node)
    async with node.client(one.customer.id) as client:
        for step in range(60):
            await one.fix(40.70 + step / 1000, ago_s=(60 - step) / 10)
        seen = []
        while not seen or seen[-1] != pytest.approx(40.759):
            seen.append((await position(client))["data"]["lat"])
        assert seen == sorted(seen) and len(seen) < 60
        assert node.gateway.counters.positions == len(seen)


async def test_who_holds_two_jobs_is_told_of_in_both(node: Node) -> None:
    """One fix, each job's customer told of his own."""
    serves = await people.service(node.engine)
    driver = await people.technician(node.engine, "t1", serves, capacity=2)
    customers = [await people.customer(node.engine) for _ in range(2)]
    held = [await people.offered(node.engine, who, serves) for who in customers]
    for job in held:
        await jobs.claim(node.engine, driver, job)
        await jobs.run_command(node.engine, driver, job, Step(command="depart"))
    await _last_fix_is_past(node, "t1")
    await heard(node)
    async with node.client(customers[0].id) as one, node.client(customers[1].id) as two:
        await technicians.store_fixes(node.engine, driver, "t1", [Fix(lat=40.76, lon=-73.9)])
        assert [(await position(client))["data"]["job"] for client in (one, two)] == held
        for client in (one, two):
            await nothing(client)


@pytest.fixture
async def delivering(settings: Settings, tmp_path: Path) -> AsyncIterator[Node]:
    """A gateway whose jobs' blueprint names the event, and only the customer for it."""
    mine = tmp_path / "blueprints"
    mine.mkdir()
    (mine / "home_service.toml").write_text((catalogue.shipped_folder() / "home_service.toml").read_text() + NAMED)
    async with node_of(msgspec.structs.replace(settings, blueprints=str(mine))) as node:
        yield node


async def test_a_blueprint_names_it_and_says_to_whom(delivering: Node) -> None:
    """Under the name and to those that the job's blueprint declares."""
    one = await ride(delivering)
    async with delivering.client(one.customer.id) as client, delivering.client("boss", "admin") as boss:
        await one.fix(40.76)
        push = await position(client)
        assert (push["type"], push["event"]) == ("position", "delivery:location:update")
        await nothing(boss)


async def test_a_lost_connection_is_a_gap_and_no_more(node: Node) -> None:
    """Cut off, the gateway counts it, subscribes again, and tells the next fix."""
    one = await ride(node)
    async with node.client(one.customer.id) as client:
        before = node.gateway.counters.live_gaps
        await node.engine.store.redis.execute_command("CLIENT", "KILL", "TYPE", "pubsub")
        await wait_until(lambda: node.gateway.counters.live_gaps > before)
        await heard(node)
        await one.fix(40.76)
        assert (await position(client))["data"]["lat"] == 40.76


async def test_a_quiet_line_is_asked_and_a_dead_one_left(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """While nothing is published Redis is asked for a word, which is no gap; where none comes the line is made anew."""
    monkeypatch.setattr(position_feed, "IDLE_S", 0.8)
    async with node_of(settings) as node:
        store, counters = node.engine.store.redis, node.gateway.counters

        async def pings() -> int:
            stats = await store.info("commandstats")
            return int(stats.get("cmdstat_ping", {}).get("calls", 0))

        await heard(node)
        before, gaps = await pings(), counters.live_gaps

        async def asked() -> bool:
            return await pings() >= before + 2

        await wait_until(asked)
        assert counters.live_gaps == gaps
        await store.execute_command("CLIENT", "PAUSE", 2_500, "ALL")
        await wait_until(lambda: counters.live_gaps > gaps)
        one = await ride(node)
        async with node.client(one.customer.id) as client:
            next_one = asyncio.create_task(position(client))

            async def told() -> bool:
                await one.fix(40.76)
                return next_one.done()

            await wait_until(told)
            assert (await next_one)["data"]["lat"] == 40.76


async def test_both_subprotocols_say_the_same(node: Node) -> None:
    """One fix, over JSON and MessagePack."""
    one = await ride(node)
    token = await node.token(one.customer.id)
    packed = {"subprotocols": [MsgpackFrames.subprotocol]}
    async with node.client(one.customer.id) as plain, node.raw(**packed) as other:
        await other.socket.send(msgspec.msgpack.encode({"id": 1, "op": "connect", "token": token}))
        while "id" not in msgspec.msgpack.decode(await other.socket.recv()):
            pass
        await one.fix(40.76)
        told = await position(plain)
        while (push := msgspec.msgpack.decode(await other.socket.recv())).get("type") != "position":
            pass
        same = ("job", "lat", "lon", "at", "stale")
        assert [push["data"][name] for name in same] == [told["data"][name] for name in same]


async def test_track_is_for_those_who_may_follow(node: Node) -> None:
    """The parties, ops and services read where he is; strangers, and who was only offered it, are told of no job."""
    serves = await people.service(node.engine)
    loser = await people.technician(node.engine, "loser", serves)
    one = await ride(node, serves=serves)
    for caller in (loser, Principal(UserId("x"), "customer"), Principal(UserId("m"), "mediator")):
        with pytest.raises(NotFound):
            await positions.read_position(node.engine, caller, one.job)
    await one.fix(40.76, heading=12.0)
    for caller in (one.customer, one.driver, people.ADMIN, Principal(UserId("pay"), "service")):
        there = await positions.read_position(node.engine, caller, one.job)
        assert there is not None
        assert (there.job, there.lat, there.heading, there.stale) == (one.job, 40.76, 12.0, False)
    waiting = await people.offered(node.engine, one.customer, await people.service(node.engine))
    assert await positions.read_position(node.engine, one.customer, waiting) is None
