"""The metrics of the gateway in ``/metrics``."""

from __future__ import annotations

import re

import pytest

from server.gateway import hub
from tests.server.gateway.conftest import Node
from tests.support.wait import wait_until


def metric_value(node: Node, line: str) -> float:
    """Return the value of one sample of ``/metrics``, or 0 if it is not there."""
    text = node.engine.metrics.render().decode()
    match = re.search(rf"^callout_{re.escape(line)} (\S+)$", text, re.MULTILINE)
    return float(match[1]) if match else 0.0


async def test_the_gateway_counts_its_work(node: Node) -> None:
    """The gateway counts sockets, frames, closes, resumes and refusals, and measures the lag of the relay and the time
    of each op.
    """
    async with node.connect("ann") as client, node.connect("bob"):
        assert metric_value(node, "sockets") == 2
        await client.request(op="ping")
        await client.request(op="unsubscribe", channel="job:x")
        assert (await client.request(op="claim", job="nonsense"))["error"]
        seq = await node.append("user:ann", times=3)
        assert (await client.next_seqs(3))[-1] == seq
        await client.socket.close(1000)
        await wait_until(lambda: metric_value(node, "sockets") == 1)
    assert metric_value(node, 'sockets_closed_total{code="1000"}') >= 1
    assert metric_value(node, 'resumes_total{outcome="fresh"}') == 2
    assert sum(node.gateway.counters.refusals_by_code.values()) == 1
    (code,) = node.gateway.counters.refusals_by_code
    assert metric_value(node, f'socket_refusals_total{{code="{code}"}}') == 1
    assert metric_value(node, 'op_count{op="connect"}') == 2
    assert metric_value(node, 'op_count{op="unsubscribe"}') == 1
    assert metric_value(node, 'op_bucket{le="+Inf",op="claim"}') == 1
    assert metric_value(node, "relay_lag_count") >= 1
    assert metric_value(node, "frames_out_total") > 0
    assert metric_value(node, "bytes_out_total") > metric_value(node, "frames_out_total")
    assert metric_value(node, "queue_bytes") == 0


async def test_a_broadcast_is_timed(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only an event to at least ``MIN_BROADCAST_SOCKETS`` sockets counts as a broadcast. Its time is measured until the
    last write.
    """
    async with node.connect("ann") as one, node.connect("ann") as two:
        for many, timed in ((3, 0), (2, 1)):
            monkeypatch.setattr(hub, "MIN_BROADCAST_SOCKETS", many)
            seq = await node.append("user:ann")
            assert await one.next_seqs(1) == await two.next_seqs(1) == [seq]
            assert metric_value(node, "broadcast_count") == timed
