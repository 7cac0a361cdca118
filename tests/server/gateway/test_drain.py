"""A gateway that stops: its clients go in batches, each after his last answer, and nobody new is let in."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from server.gateway import drain, ops
from server.schemas.ops import Unsubscribe
from tests.server.gateway.conftest import Node
from tests.support.wait import wait_until


async def test_in_batches_over_the_time_set(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everybody is told 4000, some at once and the last near the end, in an order that is not that of coming."""
    monkeypatch.setattr(drain, "MIN_BATCH", 1)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(node.client(f"u{number}")) for number in range(20)]
        began = time.monotonic()

        async def gone(number: int) -> tuple[float, int, int]:
            code = await clients[number].closed()
            return time.monotonic() - began, code, number

        waiting = [asyncio.create_task(gone(number)) for number in range(20)]
        await drain.close_all(node.gateway.sessions, 1.0)
        ended = sorted(await asyncio.gather(*waiting))
    assert {code for _, code, _ in ended} == {4000}
    assert ended[0][0] < 0.3 and 0.7 < ended[-1][0] < 2
    assert [number for *_, number in ended] != list(range(20))


async def test_nobody_new_while_draining(node: Node) -> None:
    """From the first moment of the drain on upgrades get 503."""
    async with node.client("ann") as client:
        draining = asyncio.create_task(node.gateway.drain())
        assert await client.closed() == 4000
        with pytest.raises(InvalidStatus) as refused:
            async with node.raw():
                pass
        assert refused.value.response.status_code == 503
        await draining


async def test_what_is_in_hand_is_answered_first(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that runs is finished and answered before the close; one sent later is not begun."""
    go, begun = asyncio.Event(), []

    async def slow(gateway: Any, session: Any, op: Any) -> dict[str, Any]:
        begun.append(op.id)
        await go.wait()
        return {"done": True}

    monkeypatch.setitem(ops.OPS, Unsubscribe, ops.OPS[Unsubscribe]._replace(function=slow))
    async with node.client("ann") as busy, node.client("bob") as idle:
        await busy.send({"id": 70, "op": "unsubscribe", "channel": "job:x"})
        await wait_until(lambda: begun)
        draining = asyncio.create_task(node.gateway.drain())
        assert await idle.closed() == 4000
        await busy.send({"id": 71, "op": "unsubscribe", "channel": "job:x"})
        seq = await node.append("user:ann")
        assert (await busy.push())["seq"] == seq
        go.set()
        assert await busy.receive() == {"id": 70, "ok": {"done": True}}
        assert await busy.closed() == 4000
        await draining
    assert begun == [70]


async def test_a_command_that_hangs_does_not_hold_the_end_up(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time for what is in hand everybody goes, answered or not."""
    monkeypatch.setattr("server.gateway.gateway.FINISH_S", 0.3)

    async def never(gateway: Any, session: Any, op: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setitem(ops.OPS, Unsubscribe, ops.OPS[Unsubscribe]._replace(function=never))
    async with node.client("ann") as client:
        await client.send({"id": 70, "op": "unsubscribe", "channel": "job:x"})
        await wait_until(lambda: node.gateway.running_ops)
        async with asyncio.timeout(3):
            await node.gateway.drain()
            await node.gateway.stop()
            assert await client.closed() == 4000
    for task in node.gateway.running_ops:
        task.cancel()


async def test_a_client_that_is_joining_is_sent_away_too(node: Node) -> None:
    """One who is being looked at when the drain begins is not let in after it."""
    token = await node.token("ann")
    async with node.raw() as client:
        await wait_until(lambda: node.gateway.sessions)
        (session,) = node.gateway.sessions
        await client.send({"id": 1, "op": "connect", "token": token})
        session.leave()
        assert await client.closed() == 4000
    assert not node.gateway.hub.channels
