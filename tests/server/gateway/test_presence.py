"""Presence over sockets and gateways: who receives a push when a user becomes online or offline, and who does not."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import msgspec
import pytest

from engine.domain import jobs, presence
from engine.domain.commands import CommandInput
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, Role, room_of
from engine.workers import scheduler
from server.gateway import presence_feed
from tests.server.gateway.conftest import Node, running_node
from tests.support import people
from tests.support.socket_client import SocketClient
from tests.support.wait import wait_until

LEASE_S = 4.0


@pytest.fixture
def short_lease_settings(settings: Settings) -> Settings:
    """Return settings with a lease of `LEASE_S`."""
    return msgspec.structs.replace(settings, lease_s=LEASE_S, ping_s=1.0, pong_s=0.8)


@pytest.fixture
async def nodes(short_lease_settings: Settings) -> AsyncIterator[tuple[Node, Node]]:
    """Run two gateways on one Redis."""
    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(running_node(short_lease_settings))
        shared = {
            "database": f"sqlite:///{short_lease_settings.data}/callout.db",
            "key_file": f"{short_lease_settings.data}/signing.key",
            "files": f"{short_lease_settings.data}/blobs",
        }
        other = msgspec.structs.replace(short_lease_settings, data=f"{short_lease_settings.data}2", **shared)
        second = await stack.enter_async_context(running_node(other))
        # Without a scheduler, the zone's clock does not advance.
        clock = asyncio.create_task(scheduler.run(first.engine))
        yield first, second
        clock.cancel()
        await asyncio.gather(clock, return_exceptions=True)


class Pair:
    """A customer, and the technician who holds their job."""

    def __init__(self, engine: Engine, customer: Principal, technician: Principal, job: JobId) -> None:
        self.engine, self.customer, self.technician, self.job = engine, customer, technician, job

    async def close_room(self) -> None:
        """Mark the job's chat room as closed, as the engine does when `closes_s` has passed."""
        room = keys.room(DEFAULT_ZONE, room_of(self.job))
        assert await self.engine.store.redis.hget(room, "state") == b"open"  # type: ignore[misc]
        await self.engine.store.redis.hset(room, "state", "closed")  # type: ignore[misc]

    async def step(self, command: str, *, by: Principal | None = None) -> None:
        """Take a step of the job, as its technician unless ``by`` is given."""
        await jobs.run_command(self.engine, by or self.technician, self.job, CommandInput(command=command))


async def make_pair(engine: Engine, name: str = "t1", *, departs: bool = True) -> Pair:
    """Book a job that a technician claims, and close its chat room: the job shares their presence once they depart."""
    service = await people.service(engine)
    customer, technician = await people.customer(engine), await people.technician(engine, name, service)
    job = await people.offered_job(engine, customer, service)
    await jobs.claim(engine, technician, job)
    pair = Pair(engine, customer, technician, job)
    await pair.close_room()
    if departs:
        await pair.step("depart")
    return pair


@asynccontextmanager
async def connected(node: Node, user: str, role: Role = "customer", **hello: Any) -> AsyncIterator[SocketClient]:
    """Open a socket of ``user`` that answers the pings."""
    client = await SocketClient(node.url, await node.token(user, role)).open(**hello)
    try:
        yield client
    finally:
        await client.close()


async def ask(client: SocketClient, *users: str) -> list[dict[str, Any]]:
    """Return the items of the reply to the op `presence`."""
    items: list[dict[str, Any]] = (await client.request("presence", users=list(users)))["ok"]["items"]
    return items


async def wait_for_change(client: SocketClient, number: int = 1) -> dict[str, Any]:
    """Wait until the client has received the change of presence with this number, from 1, and return its data."""
    await wait_until(lambda: len(client.received("presence")) >= number, within_s=20, what="a change of presence")
    push = client.received("presence")[number - 1]
    assert push["type"] == "presence" and "seq" not in push and "zone" not in push
    data: dict[str, Any] = push["data"]
    return data


async def wait_until_online(node: Node, user: Principal) -> None:
    """Wait until a sign of life of the user is stored."""

    async def is_online() -> bool:
        return (await presence.read_presence(node.engine, [user.id]))[0].online

    await wait_until(is_online, what="a sign of life")


async def test_strangers_learn_nothing(node: Node) -> None:
    """A stranger, and the customer before the technician departs, learn nothing: the reply leaves the technician out, a
    subscription is refused, and the reply to `connect` lists it as refused. Ops see everybody.
    """
    pair = await make_pair(node.engine, departs=False)
    tom, carla = pair.technician.id, pair.customer.id
    channel = f"presence:{tom}"
    async with (
        connected(node, tom, "technician"),
        connected(node, "stranger", subs=[channel]) as stranger,
        connected(node, carla) as customer,
        connected(node, "boss", "ops_manager") as ops,
    ):
        await wait_until_online(node, pair.technician)
        for client in (stranger, customer):
            assert await ask(client, tom, "usr_none", "b") == []
            assert (await client.request("subscribe", channel=channel))["error"]["code"] == "not_found"
        assert stranger.connected["subs"] == [] and stranger.connected["refused"] == [
            {"channel": channel, "code": "not_found"}
        ]
        assert [(item["user"], item["online"]) for item in await ask(ops, tom)] == [(tom, True)]
        await pair.step("depart")
        assert [item["user"] for item in await ask(customer, tom, "stranger")] == [tom]
        await pair.step("arrive")
        await pair.step("start")
        await pair.step("complete")
        assert await ask(customer, tom) == []


async def test_members_of_an_open_room_see_each_other(node: Node) -> None:
    """The members of a job's chat room see each other's presence while the room is open. A technician who left the job
    is no longer a member."""
    service, customer = await people.service(node.engine), await people.customer(node.engine)
    leaver = await people.technician(node.engine, "t1", service)
    job = await people.offered_job(node.engine, customer, service)
    await jobs.claim(node.engine, leaver, job)
    async with connected(node, customer.id) as client, connected(node, leaver.id, "technician") as technician:
        assert [item["user"] for item in await ask(client, leaver.id)] == [leaver.id]
        assert [item["user"] for item in await ask(technician, customer.id)] == [customer.id]
        await jobs.run_command(node.engine, leaver, job, CommandInput(command="unassign", reason="x"))
        assert await ask(client, leaver.id) == await ask(technician, customer.id) == []


@pytest.mark.parametrize("users", [[], [f"u{number}" for number in range(101)], ["a:b"], "usr_1"])
async def test_a_wrong_list_of_users_is_refused(node: Node, users: Any) -> None:
    """A request is refused with the pointer of the field if it names no user, more than 100 users or a malformed id."""
    async with connected(node, "ann") as client:
        error = (await client.request("presence", users=users))["error"]
        assert error["code"] == "invalid" and error["errors"][0]["pointer"].startswith("/users")


async def test_a_session_watches_at_most_100_users(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request or subscription that would make a session watch more than 100 users is refused. Users who are watched
    already count once, and the end of a subscription makes room.
    """
    monkeypatch.setattr(presence, "MAX_USERS_PER_QUERY", 3)
    async with connected(node, "boss", "admin") as ops:
        assert len(await ask(ops, "u1", "u2", "u3")) == len(await ask(ops, "u3", "u2")) + 1
        assert (await ops.request("presence", users=["u1", "u4"]))["error"]["code"] == "invalid"
        assert (await ops.request("subscribe", channel="presence:u4"))["error"]["code"] == "invalid"
        await ops.request("unsubscribe", channel="presence:u1")
        assert (await ops.request("subscribe", channel="presence:u4"))["ok"] == {
            "channel": "presence:u4",
            "presence": {"user": "u4", "online": False, "last_seen": None},
        }


async def test_changes_are_told_over_two_gateways(nodes: tuple[Node, Node]) -> None:
    """A user who shares a live job with another learns at any gateway that the other goes offline, with the last sign
    of life, and that they come back. A stranger who asked receives nothing, and nobody receives a change after the job
    has ended."""
    here, there = nodes
    pair = await make_pair(here.engine)
    tom, carla = pair.technician.id, pair.customer.id
    async with connected(here, carla) as customer, connected(here, "stranger") as stranger:
        async with connected(there, tom, "technician"):
            await wait_until_online(here, pair.technician)
            (known,) = await ask(customer, tom)
            assert known["online"] and known["last_seen"] is not None
            assert await ask(stranger, tom) == []
        left_at = time.monotonic()
        gone = await wait_for_change(customer)
        assert (gone["user"], gone["online"]) == (tom, False) and gone["last_seen"] >= known["last_seen"]
        assert time.monotonic() - left_at > LEASE_S - 2
        async with connected(here, tom, "technician"):
            back = await wait_for_change(customer, 2)
            assert back["online"] and back["last_seen"] > gone["last_seen"]
            await pair.step("arrive")
            await pair.step("start")
            await pair.step("complete")
        await wait_until(lambda: here.gateway.presence.watched_count == 0, within_s=20, what="the end of the watch")
        assert len(customer.received("presence")) == 2 and stranger.received("presence") == []


async def test_a_gateway_that_dies_takes_nobody_offline(nodes: tuple[Node, Node]) -> None:
    """A technician whose gateway dies and who connects to another one within the lease was never offline."""
    here, there = nodes
    pair = await make_pair(here.engine)
    tom = pair.technician.id
    async with connected(here, pair.customer.id) as customer:
        async with connected(there, tom, "technician"):
            await wait_until_online(here, pair.technician)
            assert (await ask(customer, tom))[0]["online"]
            await there.gateway.stop()
        await asyncio.sleep(LEASE_S / 2)
        async with connected(here, tom, "technician"):
            await asyncio.sleep(LEASE_S)
            assert (await ask(customer, tom))[0]["online"]
            assert customer.received("presence") == []


async def test_a_subscription_is_restored_with_the_present_state(node: Node) -> None:
    """A session that connects with `presence:<user>` among its `subs` is sent the user's present state."""
    pair = await make_pair(node.engine)
    tom = pair.technician.id
    async with connected(node, tom, "technician"):
        await wait_until_online(node, pair.technician)
        async with connected(node, pair.customer.id, subs=[f"presence:{tom}"]) as customer:
            assert customer.connected["subs"] == [f"presence:{tom}"]
            assert (await wait_for_change(customer))["online"] is True


async def test_who_watches_while_a_change_is_sent_is_told_it(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the gateway checks who may see a change, other sessions may ask for the same user or restore their
    subscription. They get this change too, because no later change would inform them.
    """
    pair, checks, may_go_on = await make_pair(node.engine), asyncio.Event(), asyncio.Event()
    tom, carla, feed = pair.technician.id, pair.customer.id, node.gateway.presence
    may_watch = feed.may_watch

    async def check_slowly(caller: Principal, user: str) -> bool:
        checks.set()
        await may_go_on.wait()
        return await may_watch(caller, user)

    async with AsyncExitStack() as stack:
        first = await stack.enter_async_context(connected(node, carla))
        assert [item["online"] for item in await ask(first, tom)] == [False]
        monkeypatch.setattr(feed, "may_watch", check_slowly)
        await stack.enter_async_context(connected(node, tom, "technician"))
        await asyncio.wait_for(checks.wait(), 20)
        monkeypatch.setattr(feed, "may_watch", may_watch)
        asking = await stack.enter_async_context(connected(node, carla))
        restored = await stack.enter_async_context(connected(node, carla, subs=[f"presence:{tom}"]))
        assert [item["online"] for item in await ask(asking, tom)] == [False]
        may_go_on.set()
        for client in (first, asking, restored):
            assert (await wait_for_change(client))["online"]


async def test_nothing_is_read_while_nobody_watches(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """All sessions that watch a user share one read of Redis in each turn of the event loop. After the last of them has
    ended nothing is read."""
    monkeypatch.setattr(presence_feed, "READ_INTERVAL_S", 0.05)
    reads: list[list[str]] = []
    read = presence.read_presence

    async def count(engine: Engine, users: list[str]) -> Any:
        reads.append(users)
        return await read(engine, users)

    async with connected(node, "boss", "admin") as one, connected(node, "chef", "admin") as two:
        monkeypatch.setattr(presence, "read_presence", count)
        await asyncio.sleep(0.3)
        assert reads == []
        for client in (one, two):
            assert len(await ask(client, "u1", "u2")) == 2
        reads.clear()
        await wait_until(lambda: len(reads) > 1)
        assert all(users == ["u1", "u2"] for users in reads)
    await wait_until(lambda: node.gateway.presence.watched_count == 0)
    reads.clear()
    await asyncio.sleep(0.3)
    assert reads == []
