"""The limits of one user, one gateway and one address: silent sockets are closed, new sockets are refused, and floods
end with a close.
"""

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
from tests.server.gateway.conftest import running_node
from tests.support.wait import wait_until


@pytest.fixture
def limited_settings(settings: Settings) -> Settings:
    """Return settings with rate limits."""
    return msgspec.structs.replace(settings, limits="on")


async def test_the_least_active_sockets_are_closed(limited_settings: Settings) -> None:
    """With more than five sockets of one user, the sockets that have been silent longest are closed with 4010. Other
    users' sockets remain open.
    """
    async with running_node(limited_settings) as node, node.connect("bob") as other, AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(node.connect("ann")) for _ in range(7)]
        assert [await client.wait_for_close() for client in clients[:2]] == [4010, 4010]
        last = await node.append("user:ann user:bob")
        assert [await client.next_seqs(1) for client in [*clients[2:], other]] == [[last]] * 6


async def test_too_many_new_sockets_a_second_are_refused(
    limited_settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Upgrades beyond the limit for one second get 503 with Retry-After."""
    monkeypatch.setattr("server.gateway.handshake.monotonic", lambda: 100.0)
    async with running_node(msgspec.structs.replace(limited_settings, accepts=3)) as node, AsyncExitStack() as stack:
        for _ in range(3):
            await stack.enter_async_context(node.open_socket())
        with pytest.raises(InvalidStatus) as refused:
            await stack.enter_async_context(node.open_socket())
        response = refused.value.response
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
        assert json.loads(response.body or b"")["code"] == "unavailable"
        assert node.gateway.counters.refused_handshakes["rush"] == 1


async def test_a_flood_of_wrong_values(limited_settings: Settings) -> None:
    """A hundred wrong values within ten seconds close the socket with 4010, after which a client may reconnect."""
    async with running_node(limited_settings) as node, node.connect("ann", "technician") as client:
        for _ in range(100):
            await client.send({"op": "location", "lat": 91, "lon": 0})
        assert await client.wait_for_close() == 4010


def test_the_accept_limiter_refills(monkeypatch: pytest.MonkeyPatch) -> None:
    """The limiter accepts one second's number of sockets at once, and then refills evenly. Unused capacity is never
    more than that of one second.
    """
    now = 100.0
    monkeypatch.setattr("server.gateway.handshake.monotonic", lambda: now)
    door = AcceptLimiter(10)
    assert [door.accept() for _ in range(12)] == [True] * 10 + [False] * 2
    now += 0.25
    assert [door.accept() for _ in range(3)] == [True, True, False]
    now += 60
    assert sum(door.accept() for _ in range(50)) == 10


async def test_locations_without_an_id_are_dropped_silently(
    limited_settings: Settings, slow_refill: SlowRefill
) -> None:
    """In a flood of fixes only those with an id get the refusal `rate_limited`. Other ops are answered as usual."""
    slow_refill("fixes")
    async with running_node(limited_settings) as node, node.connect("tom", "technician") as client:
        for _ in range(12):
            await client.send({"op": "location", "lat": 1, "lon": 1})
        error = (await client.request(op="location", lat=1, lon=1))["error"]
        assert (error["code"], error["retry_after"] > 0) == ("rate_limited", True)
        assert "ok" in await client.request(op="unsubscribe", channel="job:x")
        assert client.pushes == []


async def test_claims_are_limited_under_both_names(limited_settings: Settings, slow_refill: SlowRefill) -> None:
    """The ops `claim` and `command` with the command `claim` share one limit."""
    slow_refill("claims")
    async with running_node(limited_settings) as node, node.connect("tom", "technician") as client:
        job = "job_main_" + "0" * 26
        codes = [
            (await client.request(op=op, job=job, **more))["error"]["code"]
            for _ in range(8)
            for op, more in (("claim", {}), ("command", {"command": "claim"}))
        ]
        assert codes.index("rate_limited") == 10
        assert "ok" in await client.request(op="unsubscribe", channel="job:x")


async def test_a_continued_flood_is_closed(
    limited_settings: Settings, monkeypatch: pytest.MonkeyPatch, slow_refill: SlowRefill
) -> None:
    """A client that continues to send after its messages were refused is closed with 4010, without further calls to
    Redis.
    """
    slow_refill("fixes")
    monkeypatch.setattr(session_limiter, "MAX_REFUSALS", 30)
    for message in ({"op": "location", "lat": 1, "lon": 1}, {"op": "ping"}, {"op": "ping", "id": 1}):
        async with running_node(limited_settings) as node, node.connect("tom", "technician") as client:
            for _ in range(120):
                await client.send(message)
            assert await client.wait_for_close() == 4010
            assert node.gateway.counters.closes_by_code[4010] == 1


async def test_a_burst_of_pings_is_answered(limited_settings: Settings) -> None:
    """A burst of twenty pings is answered. Later pings may be refused with `rate_limited`, and the session remains
    open.
    """
    async with running_node(limited_settings) as node, node.connect("ann") as client:
        replies = [await client.request(op="ping") for _ in range(40)]
        assert all("ok" in reply for reply in replies[:20])
        assert {reply["error"]["code"] for reply in replies if "error" in reply} <= {"rate_limited"}
        assert "ok" in await client.request(op="unsubscribe", channel="job:x")


async def test_an_ended_session_is_freed_at_once(limited_settings: Settings) -> None:
    """A session that either side closes, or that is cut, is freed without the garbage collector, which runs seldom
    (server/serve.py).
    """

    def session_count() -> int:
        """Return the number of Session objects in memory."""
        return sum(type(one) is Session for one in gc.get_objects())

    async with running_node(limited_settings) as node:
        before = session_count()
        gc.disable()
        try:
            for how in ("theirs", "ours", "cut"):
                async with node.connect("ann") as client:
                    assert session_count() == before + 1
                    if how == "ours":
                        node.gateway.sockets_of("ann")[0].close(4000, "draining")
                    elif how == "cut":
                        client.socket.transport.abort()
            await wait_until(lambda: session_count() == before)
        finally:
            gc.enable()


async def test_pending_sockets_are_limited_for_each_address(settings: Settings) -> None:
    """Sockets beyond the limit of an address get 503 before the upgrade. Sockets that have sent `connect` or are closed
    do not count.
    """
    few = msgspec.structs.replace(settings, limits="on", address_sockets=2)
    async with running_node(few) as node, node.connect("ann"), node.open_socket() as first, node.open_socket():
        with pytest.raises(InvalidStatus) as refused:
            async with node.open_socket():
                pass
        assert refused.value.response.status_code == 503
        assert node.gateway.counters.refused_handshakes["unknown"] == 1
        await first.request(op="connect", token=await node.token("bob"))
        async with node.open_socket() as third:
            await third.socket.close()
        await wait_until(lambda: len(node.gateway.sessions) == 3)
        async with node.open_socket():
            pass
