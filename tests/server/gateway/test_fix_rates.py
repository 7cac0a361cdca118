"""How often an app sends fixes over the socket: the interval is in the reply to ``connect``, and a push when it
changes."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import msgspec

from engine.domain import jobs, positions
from engine.process.settings import Settings
from server.gateway.frames import MsgpackFrames
from tests.conftest import SlowRefill
from tests.server.gateway.conftest import Client, Node, running_node
from tests.support import people
from tests.support.wait import wait_until


async def next_of_type(client: Client, kind: str) -> dict[str, Any]:
    """Return the next push of this type."""
    while (push := await client.next_push())["type"] != kind:
        pass
    return push


async def test_a_claim_tells_all_connections_of_the_technician(node: Node) -> None:
    """All sockets of a technician get the push `fix` when a claim changes the interval between fixes, in both
    subprotocols, and nobody else gets it. The next reply to `connect` has the new interval.
    """
    service, customer = await people.service(node.engine), await people.customer(node.engine)
    tom = await people.technician(node.engine, "tom", service)
    await wait_until(lambda: node.gateway.live.is_subscribed)
    packed = {"subprotocols": [MsgpackFrames.subprotocol]}
    async with AsyncExitStack() as stack:
        phone = await stack.enter_async_context(node.connect("tom", "technician"))
        outside = [await stack.enter_async_context(node.connect(who.id)) for who in (customer,)]
        outside.append(await stack.enter_async_context(node.connect("boss", "admin")))
        outside.append(await stack.enter_async_context(node.connect("tara", "technician")))
        other = await stack.enter_async_context(node.open_socket(**packed))
        token = await node.token("tom", "technician")
        await other.socket.send(msgspec.msgpack.encode({"id": 1, "op": "connect", "token": token}))
        assert phone.hello["fix"] == {"every_s": 30, "distance_m": 250}  # type: ignore[attr-defined]
        job = await people.offered_job(node.engine, customer, service)
        await jobs.claim(node.engine, tom, job)
        push = await next_of_type(phone, "fix")
        assert (set(push), push["data"]) == ({"type", "event", "at", "data"}, {"every_s": 10, "distance_m": 100})
        while (message := msgspec.msgpack.decode(await other.socket.recv())).get("type") != "fix":
            pass
        assert message["data"] == push["data"]
        for client in outside:
            await client.request(op="ping")
            assert [each for each in client.pushes if each["type"] == "fix"] == []
        async with node.connect("tom", "technician") as again:
            assert again.hello["fix"] == push["data"]  # type: ignore[attr-defined]


def test_a_position_is_stale_after_three_of_the_told_intervals() -> None:
    """A position is stale after 30 s, or after three of the intervals that were sent to the app, if that is longer."""
    assert [positions.stale_after_s(every_s) for every_s in (3, 10, 30, 60)] == [30, 30, 90, 180]


async def test_fixes_of_many_sockets_are_answered_each(node: Node) -> None:
    """Of fixes that arrive together, each with an `id` gets a reply: {} for a valid fix, `not_found` for one of an
    unknown technician, `invalid` for a wrong value. A customer is refused.
    """
    service = await people.service(node.engine)
    names = [f"t{number}" for number in range(6)]
    for name in names:
        await people.technician(node.engine, name, service)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(node.connect(name, "technician")) for name in (*names, "nobody")]
        clients.append(await stack.enter_async_context(node.connect("carla")))
        fixes = [{"lat": 40.751, "lon": -73.99} for _ in clients]
        fixes[0]["lat"] = 91.0
        replies = await asyncio.gather(
            *(client.request(op="location", **fix) for client, fix in zip(clients, fixes, strict=True))
        )
    assert [reply.get("ok", reply.get("error", {}).get("code")) for reply in replies] == [
        *("invalid", {}, {}, {}, {}, {}),
        *("not_found", "forbidden"),
    ]


async def test_a_flood_of_fixes_costs_redis_nothing(settings: Settings, slow_refill: SlowRefill) -> None:
    """A socket that sends more fixes than it may is refused by its gateway, without a call of Redis."""
    slow_refill("fixes")
    async with running_node(msgspec.structs.replace(settings, limits="on")) as node:
        service = await people.service(node.engine)
        await people.technician(node.engine, "tom", service)
        async with node.connect("tom", "technician") as client:
            replies = [await client.request(op="location", lat=40.751, lon=-73.99) for _ in range(20)]
    assert ["ok" in reply for reply in replies] == [True] * 2 + [False] * 18
    assert {reply["error"]["code"] for reply in replies[2:]} == {"rate_limited"}
