"""What one user, one node and one moment may take: the oldest goes, the newcomer waits, a flood ends."""

from __future__ import annotations

import gc
import json
from contextlib import AsyncExitStack

import msgspec
import pytest
from websockets.exceptions import InvalidStatus

from engine.process.settings import Settings
from server.gateway import session_limiter
from server.gateway.handshake import AcceptLimiter
from server.gateway.session import Session
from tests.conftest import SlowRefill
from tests.server.gateway.conftest import node_of
from tests.support.wait import wait_until


@pytest.fixture
def limited(settings: Settings) -> Settings:
    """With limits."""
    return msgspec.structs.replace(settings, limits="on")


async def test_those_unheard_of_for_longest_go(limited: Settings) -> None:
    """Over five sockets of one user those unheard of for longest go, 4010; others' stay, in whichever subprotocol."""
    async with node_of(limited) as node, node.client("bob") as other, AsyncExitStack() as stack:
        mine = [await stack.enter_async_context(node.client("ann")) for _ in range(7)]
        assert [await client.closed() for client in mine[:2]] == [4010, 4010]
        last = await node.append("user:ann user:bob")
        assert [await client.seqs(1) for client in [*mine[2:], other]] == [[last]] * 6


async def test_a_rush(limited: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """More sockets in a second than the node lets in get 503 with Retry-After before the upgrade."""
    monkeypatch.setattr("server.gateway.handshake.monotonic", lambda: 100.0)
    async with node_of(msgspec.structs.replace(limited, accepts=3)) as node, AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(node.raw())
        with pytest.raises(InvalidStatus) as refused:
            await stack.enter_async_context(node.raw())
        response = refused.value.response
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert json.loads(response.body or b"")["code"] == "unavailable"
        assert node.gateway.counters.refused["rush"] == 1


async def test_a_flood_of_wrong_values(limited: Settings) -> None:
    """A hundred wrong values in ten seconds are too many requests, from which a client comes back: 4010."""
    async with node_of(limited) as node, node.client("ann", "technician") as client:
        for _ in range(100):
            await client.send({"op": "location", "lat": 91, "lon": 0})
        assert await client.closed() == 4010


def test_the_turnstile_opens_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second's worth at once, then evenly; time that was not used is not saved up beyond that second."""
    now = 100.0
    monkeypatch.setattr("server.gateway.handshake.monotonic", lambda: now)
    door = AcceptLimiter(10)
    assert [door.accept() for _ in range(12)] == [True] * 10 + [False] * 2
    now += 0.25
    assert [door.accept() for _ in range(3)] == [True, True, False]
    now += 60
    assert sum(door.accept() for _ in range(50)) == 10


async def test_locations_without_an_id_are_dropped_silently(limited: Settings, slow_refill: SlowRefill) -> None:
    """A flood of fixes is refused to those that asked for an answer, and costs the others' answers nothing."""
    slow_refill("fixes")
    async with node_of(limited) as node, node.client("tom", "technician") as client:
        for _ in range(12):
            await client.send({"op": "location", "lat": 1, "lon": 1})
        error = (await client.ask(op="location", lat=1, lon=1))["error"]
        assert (error["code"], error["retry_after"] > 0) == ("rate_limited", True)
        assert "ok" in await client.ask(op="unsubscribe", channel="job:x")
        assert client.pushes == []


async def test_claims_are_counted_by_either_name(limited: Settings, slow_refill: SlowRefill) -> None:
    """Claims have a meter of their own, whatever the op is called."""
    slow_refill("claims")
    async with node_of(limited) as node, node.client("tom", "technician") as client:
        job = "job_main_" + "0" * 26
        codes = [
            (await client.ask(op=op, job=job, **more))["error"]["code"]
            for _ in range(8)
            for op, more in (("claim", {}), ("command", {"command": "claim"}))
        ]
        assert codes.index("rate_limited") == 10
        assert "ok" in await client.ask(op="unsubscribe", channel="job:x")


async def test_a_flood_that_does_not_stop(
    limited: Settings, monkeypatch: pytest.MonkeyPatch, slow_refill: SlowRefill
) -> None:
    """Who goes on and on after being refused is closed with 4010, Redis being spared meanwhile."""
    slow_refill("fixes")
    monkeypatch.setattr(session_limiter, "MAX_REFUSALS", 30)
    for message in ({"op": "location", "lat": 1, "lon": 1}, {"op": "ping"}, {"op": "ping", "id": 1}):
        async with node_of(limited) as node, node.client("tom", "technician") as client:
            for _ in range(120):
                await client.send(message)
            assert await client.closed() == 4010
            assert node.gateway.counters.closes[4010] == 1


async def test_pings_at_a_sane_rate_are_free(limited: Settings) -> None:
    """A burst of twenty pings is answered; the next is refused under its id, and the session lives."""
    async with node_of(limited) as node, node.client("ann") as client:
        replies = [await client.ask(op="ping") for _ in range(40)]
        assert all("ok" in reply for reply in replies[:20])
        assert {reply["error"]["code"] for reply in replies if "error" in reply} <= {"rate_limited"}
        assert "ok" in await client.ask(op="unsubscribe", channel="job:x")


async def test_a_session_that_is_over_waits_for_no_garbage_collector(limited: Settings) -> None:
    """The collector looks seldom (server/serve.py): what is gone is freed at once, ended from either side, or cut."""

    def sessions() -> int:
        return sum(type(one) is Session for one in gc.get_objects())

    async with node_of(limited) as node:
        before = sessions()
        gc.disable()
        try:
            for how in ("theirs", "ours", "cut"):
                async with node.client("ann") as client:
                    assert sessions() == before + 1
                    if how == "ours":
                        node.gateway.sockets_of("ann")[0].close(4000, "draining")
                    elif how == "cut":
                        client.socket.transport.abort()
            await wait_until(lambda: sessions() == before)
        finally:
            gc.enable()


async def test_sockets_that_say_nothing_are_few_from_one_address(settings: Settings) -> None:
    """Over the limit of an address 503 before the upgrade; who has connected counts no more, nor who has left."""
    few = msgspec.structs.replace(settings, limits="on", address_sockets=2)
    async with node_of(few) as node, node.client("ann"), node.raw() as first, node.raw():
        with pytest.raises(InvalidStatus) as refused:
            async with node.raw():
                pass
        assert refused.value.response.status_code == 503
        assert node.gateway.counters.refused["unknown"] == 1
        await first.ask(op="connect", token=await node.token("bob"))
        async with node.raw() as third:
            await third.socket.close()
        await wait_until(lambda: len(node.gateway.sessions) == 3)
        async with node.raw():
            pass
