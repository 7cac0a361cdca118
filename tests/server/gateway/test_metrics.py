"""What the gateway tells of itself to who scrapes it."""

from __future__ import annotations

import re

import pytest

from server.gateway import hub
from tests.server.gateway.conftest import Node
from tests.support.wait import wait_until


def metric(node: Node, line: str) -> float:
    """The value of one sample of ``/metrics``; nought where there is none."""
    text = node.engine.metrics.render().decode()
    found = re.search(rf"^callout_{re.escape(line)} (\S+)$", text, re.MULTILINE)
    return float(found[1]) if found else 0.0


async def test_what_is_counted(node: Node) -> None:
    """Connections, frames, closes, resumes, refusals, the relay's lag and what each op took."""
    async with node.client("ann") as client, node.client("bob"):
        assert metric(node, "sockets") == 2
        await client.ask(op="ping")
        await client.ask(op="unsubscribe", channel="job:x")
        assert (await client.ask(op="claim", job="nonsense"))["error"]
        seq = await node.append("user:ann", times=3)
        assert (await client.seqs(3))[-1] == seq
        await client.socket.close(1000)
        await wait_until(lambda: metric(node, "sockets") == 1)
    assert metric(node, 'sockets_closed_total{code="1000"}') >= 1
    assert metric(node, 'resumes_total{outcome="fresh"}') == 2
    assert sum(node.gateway.counters.refusals.values()) == 1
    (code,) = node.gateway.counters.refusals
    assert metric(node, f'socket_refusals_total{{code="{code}"}}') == 1
    assert metric(node, 'op_count{op="connect"}') == 2
    assert metric(node, 'op_count{op="unsubscribe"}') == 1
    assert metric(node, 'op_bucket{le="+Inf",op="claim"}') == 1
    assert metric(node, "relay_lag_count") >= 1
    assert metric(node, "frames_out_total") > 0
    assert metric(node, "bytes_out_total") > metric(node, "frames_out_total")
    assert metric(node, "queue_bytes") == 0


async def test_a_broadcast_is_timed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only what goes to many sockets is a broadcast, and it is timed to its last write."""
    async with node.client("ann") as one, node.client("ann") as two:
        for many, timed in ((3, 0), (2, 1)):
            monkeypatch.setattr(hub, "BROADCAST", many)
            seq = await node.append("user:ann")
            assert await one.seqs(1) == await two.seqs(1) == [seq]
            assert metric(node, "broadcast_count") == timed
