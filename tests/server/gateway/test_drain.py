"""A gateway that drains: its clients are closed in batches, each after its last reply, and new sockets are refused."""

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


async def test_clients_are_closed_in_batches(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """All clients are closed with 4000, some at once and the last near the end of the given time. The order is not the
    order of their connects.
    """
    monkeypatch.setattr(drain, "MIN_BATCH_SESSIONS", 1)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(node.connect(f"u{number}")) for number in range(20)]
        began = time.monotonic()

        async def wait_for_end(number: int) -> tuple[float, int, int]:
            code = await clients[number].wait_for_close()
            return time.monotonic() - began, code, number

        waiting = [asyncio.create_task(wait_for_end(number)) for number in range(20)]
        await drain.close_all(node.gateway.sessions, 1.0)
        closings = sorted(await asyncio.gather(*waiting))
    assert {code for _, code, _ in closings} == {4000}
    assert closings[0][0] < 0.3 and 0.7 < closings[-1][0] < 2
    assert [number for *_, number in closings] != list(range(20))


async def test_new_sockets_are_refused_while_draining(node: Node) -> None:
    """Upgrades are refused with 503 as soon as the drain begins."""
    async with node.connect("ann") as client:
        draining = asyncio.create_task(node.gateway.drain())
        assert await client.wait_for_close() == 4000
        with pytest.raises(InvalidStatus) as refused:
            async with node.open_socket():
                pass
        assert refused.value.response.status_code == 503
        await draining


async def test_running_commands_are_answered_first(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A running command is finished and answered before its socket is closed. A command that arrives during the drain
    is not started.
    """
    go, started_ops = asyncio.Event(), []

    async def slow_op(gateway: Any, session: Any, op: Any) -> dict[str, Any]:
        started_ops.append(op.id)
        await go.wait()
        return {"done": True}

    monkeypatch.setitem(ops.OPS, Unsubscribe, ops.OPS[Unsubscribe]._replace(function=slow_op))
    async with node.connect("ann") as busy, node.connect("bob") as idle:
        await busy.send({"id": 70, "op": "unsubscribe", "channel": "job:x"})
        await wait_until(lambda: started_ops)
        draining = asyncio.create_task(node.gateway.drain())
        assert await idle.wait_for_close() == 4000
        await busy.send({"id": 71, "op": "unsubscribe", "channel": "job:x"})
        seq = await node.append("user:ann")
        assert (await busy.next_push())["seq"] == seq
        go.set()
        assert await busy.receive() == {"id": 70, "ok": {"done": True}}
        assert await busy.wait_for_close() == 4000
        await draining
    assert started_ops == [70]


async def test_a_command_that_hangs_does_not_delay_the_end(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the time for running commands (``FINISH_TIMEOUT_S``) all sockets are closed, whether or not their commands
    were answered.
    """
    monkeypatch.setattr("server.gateway.gateway.FINISH_TIMEOUT_S", 0.3)

    async def hanging_op(gateway: Any, session: Any, op: Any) -> None:
        await asyncio.Event().wait()

    monkeypatch.setitem(ops.OPS, Unsubscribe, ops.OPS[Unsubscribe]._replace(function=hanging_op))
    async with node.connect("ann") as client:
        await client.send({"id": 70, "op": "unsubscribe", "channel": "job:x"})
        await wait_until(lambda: node.gateway.running_ops)
        async with asyncio.timeout(3):
            await node.gateway.drain()
            await node.gateway.stop()
            assert await client.wait_for_close() == 4000
    for task in node.gateway.running_ops:
        task.cancel()


async def test_a_client_whose_connect_is_processed_is_closed_too(node: Node) -> None:
    """A client whose ``connect`` is being processed when the drain begins is closed with 4000 and joins no channel."""
    token = await node.token("ann")
    async with node.open_socket() as client:
        await wait_until(lambda: node.gateway.sessions)
        (session,) = node.gateway.sessions
        await client.send({"id": 1, "op": "connect", "token": token})
        session.close_when_idle()
        assert await client.wait_for_close() == 4000
    assert not node.gateway.hub.channels
