"""The relay while Redis is killed, paused, flushed or rolled back: events may be delayed, but none is skipped without
notice.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from engine.process.settings import Settings
from engine.store import keys
from engine.store.connection import Store
from engine.store.redis_url import connect_function
from engine.store.stream_connection import StreamConnection
from engine.types import DEFAULT_ZONE
from server.gateway import relay, zone_group
from server.gateway.zone_stream import ZoneStream
from server.health import Health
from server.serve import run_server
from tests.server.gateway.conftest import Client, Node, running_node
from tests.server.gateway.streams import open_event_server
from tests.support import epochs, valkey
from tests.support.epochs import epoch_name
from tests.support.proxy import Proxy
from tests.support.wait import wait_until


class OwnValkey:
    """A Valkey server for one test, which the test can stop and kill."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = valkey.free_port()
        self.epoch_names: list[str] = []
        self.start()

    def start(self) -> None:
        """Start the server with the same file and port. It flushes each write to disk, so that a kill loses none."""
        self.process, self.url = valkey.start_server(self.folder, "--appendfsync", "always", port=self.port)
        self.epoch_names.append(epochs.current_epoch_name(len(self.epoch_names) + 1, self.url))

    def epoch_name(self, number: int) -> str:
        """Return the name of the epoch that began with the n-th start of the server."""
        return self.epoch_names[number - 1]

    def kill(self) -> None:
        """Kill the server with SIGKILL."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[OwnValkey]:
    """Start a Valkey server for this test."""
    folder = tmp_path / "redis"
    folder.mkdir()
    own_valkey = OwnValkey(folder)
    yield own_valkey
    own_valkey.kill()


@pytest.fixture
async def own_node(own_valkey: OwnValkey, tmp_path: Path) -> AsyncIterator[Node]:
    """Run a gateway on the test's own Valkey."""
    async with running_node(Settings(data=str(tmp_path / "data"), redis=own_valkey.url, limits="off")) as node:
        yield node


def zone_stream(node: Node) -> ZoneStream:
    """Return the gateway's state of the zone `main`."""
    return node.gateway.relay.tails[DEFAULT_ZONE]


async def test_redis_killed_and_started_again(own_node: Node, own_valkey: OwnValkey) -> None:
    """After a restart of Redis the relay continues under the new epoch, and no session is closed."""
    async with own_node.connect("ann") as client:
        await own_node.append("user:ann", times=3)
        assert await client.next_seqs(3) == [1, 2, 3]
        own_valkey.kill()
        own_valkey.start()
        await wait_until(lambda: own_node.engine.store.zones[DEFAULT_ZONE].epoch == own_valkey.epoch_name(2))
        await wait_until(lambda: own_node.engine.store.pipeline.is_up)
        await own_node.append("user:ann", times=3)
        assert await client.next_seqs(3) == [4, 5, 6]
        await wait_until(lambda: zone_stream(own_node).epoch == own_valkey.epoch_name(2))
    assert own_node.gateway.counters.resyncs_by_reason == {}
    async with own_node.connect("ann", cursors={"main": {"epoch": own_valkey.epoch_name(1), "seq": 3}}) as client:
        assert client.hello["zones"]["main"]["missed"] == 3


async def receive_seqs(client: Client, count: int, at: dict[str, Any]) -> list[int]:
    """Return the seqs of the next ``count`` pushes, and update the cursor ``at`` from pushes and heads."""
    seqs: list[int] = []
    while len(seqs) < count:
        async with asyncio.timeout(10):
            frame = json.loads(await client.socket.recv())
        at |= {name: frame[name] for name in ("epoch", "seq") if name in frame}
        if "type" in frame:
            seqs.append(frame["seq"])
    return seqs


async def restart_redis(node: Node, own_valkey: OwnValkey) -> None:
    """Kill Redis, start it with the same log, and wait until the zone is open again."""
    own_valkey.kill()
    own_valkey.start()
    await wait_until(
        lambda: (
            node.engine.store.zones[DEFAULT_ZONE].epoch == own_valkey.epoch_name(2) and node.engine.store.pipeline.is_up
        )
    )


@pytest.mark.parametrize("received_before", [0, 1, 5])
async def test_a_client_resumes_after_a_restart_of_redis(
    own_node: Node, own_valkey: OwnValkey, received_before: int
) -> None:
    """A client that is cut after a restart of Redis receives each missed event once and needs no snapshot, whether or
    not it has received an event of the new epoch.
    """
    at: dict[str, Any] = {"epoch": own_valkey.epoch_name(1), "seq": 0}
    async with own_node.connect("ann") as client:
        await own_node.append("user:ann", times=3)
        seqs = await receive_seqs(client, 3, at)
        await restart_redis(own_node, own_valkey)
        if received_before:
            await own_node.append("user:ann", times=received_before)
        seqs += await receive_seqs(client, received_before, at)
        client.socket.transport.abort()
    await own_node.append("user:ann", times=3)
    async with own_node.connect("ann", cursors={"main": at}) as client:
        assert client.hello["zones"]["main"]["recovered"] is True
        assert seqs + await receive_seqs(client, 3, at) == list(range(1, received_before + 7))


async def test_the_head_of_a_new_epoch_comes_before_its_first_event(
    own_node: Node, own_valkey: OwnValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session receives the head of the new epoch before its first event, even if the relay is connected before the
    zone is open. No event of the new epoch is sent under the old epoch's name. A socket without `connect` receives
    nothing.
    """
    opened, opener = asyncio.Event(), own_node.engine.store.open_zones

    async def open_late(*args: Any) -> None:
        """Open the zone only when the test allows it."""
        await opened.wait()
        await opener(*args)

    bearer = await own_node.token("bob")
    async with own_node.connect("ann") as client, own_node.open_socket() as silent:
        await own_node.append("user:ann", times=3)
        assert await client.next_seqs(3) == [1, 2, 3]
        monkeypatch.setattr(own_node.engine.store, "open_zones", open_late)
        own_valkey.kill()
        own_valkey.start()
        start = monotonic()
        (group,) = own_node.gateway.relay._groups
        await wait_until(lambda: group.checked_at > start, what="a read of the log after the restart")
        assert zone_stream(own_node).epoch == own_valkey.epoch_name(1)
        opened.set()
        await wait_until(lambda: own_node.engine.store.pipeline.is_up)
        await own_node.append("user:ann")
        frames = [json.loads(await client.socket.recv()) for _ in range(2)]
        assert (frames[0], frames[1]["seq"]) == ({"zone": "main", "epoch": own_valkey.epoch_name(2), "seq": 3}, 4)
        await silent.send({"id": 1, "op": "connect", "token": bearer})
        assert json.loads(await silent.socket.recv())["ok"]["zones"]["main"]["epoch"] == own_valkey.epoch_name(2)
    assert own_node.gateway.counters.resyncs_by_reason == {}


async def test_streams_and_polls_after_a_restart_of_redis(own_valkey: OwnValkey, tmp_path: Path) -> None:
    """After a restart of Redis, a stream gets the head of the new epoch before its first event. The head does not end a
    waiting poll, whose reply has a cursor of the new epoch.
    """
    settings = Settings(data=str(tmp_path / "data"), redis=own_valkey.url, limits="off", port=0)
    async with run_server(settings) as serving, open_event_server(serving) as site:
        async with site.open_stream("ann") as source:
            await site.node.append("user:ann")
            assert await source.next_seqs(1) == [1]
            poll_task = asyncio.create_task(site.poll("ann", after=f"main:{own_valkey.epoch_name(1)}:1", wait=30))
            await wait_until(lambda: site.gateway.streams.count == 2)
            await restart_redis(site.node, own_valkey)
            while source.last != f"main:{own_valkey.epoch_name(2)}:1":
                assert await source.next_block() is not None
            assert not poll_task.done()
            await site.node.append("user:ann")
            assert (await source.next_event()).id == f"main:{own_valkey.epoch_name(2)}:2"
            assert (await poll_task)["cursor"] == f"main:{own_valkey.epoch_name(2)}:2"
        async with site.open_stream("ann", last=f"main:{own_valkey.epoch_name(2)}:2") as source:
            assert source.hello.data["recovered"] is True  # type: ignore[attr-defined]


async def test_the_relay_continues_after_redis_paused(
    own_node: Node, own_valkey: OwnValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The relay reports that it is disconnected while Redis is paused, and then continues without a gap."""
    monkeypatch.setattr(zone_group, "READ_BLOCK_S", 0.1)
    monkeypatch.setattr(relay, "REPLY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(relay, "DISCONNECTED_AFTER_S", 0.5)
    async with own_node.connect("ann") as client:
        await own_node.append("user:ann", times=2)
        assert await client.next_seqs(2) == [1, 2]
        os.kill(own_valkey.process.pid, signal.SIGSTOP)
        await wait_until(lambda: own_node.gateway.relay.is_disconnected)
        os.kill(own_valkey.process.pid, signal.SIGCONT)
        await wait_until(lambda: not own_node.gateway.relay.is_disconnected)
        await own_node.append("user:ann", times=2)
        assert await client.next_seqs(2) == [3, 4]
    assert own_node.gateway.counters.resyncs_by_reason == {}


async def test_a_flush_closes_all_sessions(node: Node) -> None:
    """If Redis is flushed, all sessions are closed with 4004 within seconds, so that they resynchronise."""
    async with node.connect("ann") as client:
        await node.wait_until_relayed(await node.append("user:ann", times=5))
        await node.engine.store.redis.flushall()
        assert await client.wait_for_close() == 4004
    assert node.gateway.counters.resyncs_by_reason["rollback"] == 1
    await wait_until(lambda: zone_stream(node).is_open or not node.engine.store.zones[DEFAULT_ZONE].open)


async def test_a_rolled_back_log_closes_all_sessions(node: Node) -> None:
    """A rollback of the log closes all sessions with 4004, and the relay continues from the new head."""
    store = node.engine.store.redis
    async with node.connect("ann") as client:
        await node.wait_until_relayed(await node.append("user:ann", times=10))
        await store.eval(
            "redis.call('DEL', KEYS[1]) for seq = 7, 10 do redis.call('XDEL', KEYS[2], seq .. '-0') end "
            "redis.call('HSET', KEYS[3], 'seq', 6, 'epoch', ARGV[1]) redis.call('HSET', KEYS[4], ARGV[1], 7)",
            4,
            "x",
            keys.log(DEFAULT_ZONE),
            keys.zone_meta(DEFAULT_ZONE),
            keys.epochs(DEFAULT_ZONE),
            epoch_name(2),
        )
        assert await client.wait_for_close() == 4004
    await wait_until(lambda: zone_stream(node).head.epoch == epoch_name(2))
    assert zone_stream(node).cursor == 6


async def test_another_epoch_of_equal_length_closes_all_sessions(node: Node) -> None:
    """A replaced log that is longer than the old one is recognised by its epoch: sessions are closed with 4004."""
    store = node.engine.store.redis
    async with node.connect("ann") as client:
        await node.wait_until_relayed(await node.append("user:ann", times=10))
        names = keys.log(DEFAULT_ZONE), keys.zone_meta(DEFAULT_ZONE), keys.epochs(DEFAULT_ZONE)
        async with store.pipeline(transaction=True) as pipe:
            pipe.delete(names[0])
            for seq in range(8, 13):
                fields = {
                    "type": "t",
                    "to": "user:ann",
                    "at": 1,
                    "actor": "engine",
                    "bp": "",
                    "data": "{}",
                    "cause": "",
                }
                pipe.xadd(names[0], fields, id=f"{seq}-0")  # type: ignore[arg-type]
            pipe.hset(names[1], mapping={"seq": 12, "epoch": epoch_name(2)})
            pipe.hset(names[2], mapping={epoch_name(2): 8})
            await pipe.execute()
        assert await client.wait_for_close() == 4004
    assert node.gateway.counters.resyncs_by_reason["epoch"] == 1


async def test_entries_trimmed_before_they_were_read_are_a_gap(node: Node) -> None:
    """Entries trimmed before the relay has read them are a gap: all sessions are closed with 4004."""
    async with node.connect("ann") as client:
        await node.wait_until_relayed(await node.append("user:ann"))
        await node.engine.store.redis.eval(
            "redis.call('HINCRBY', KEYS[1], 'seq', 5)"
            "redis.call('XADD', KEYS[2], '6-0', 'type', 't', 'to', 'user:ann', 'at', 1, 'actor', 'engine',"
            "'bp', '', 'data', '{}', 'cause', '')",
            2,
            keys.zone_meta(DEFAULT_ZONE),
            keys.log(DEFAULT_ZONE),
        )
        assert await client.wait_for_close() == 4004
    assert node.gateway.counters.resyncs_by_reason["trimmed"] == 1
    async with node.connect("ann", cursors={"main": {"epoch": epoch_name(1), "seq": 1}}) as client:
        assert client.hello["zones"]["main"] == {
            "epoch": epoch_name(1),
            "seq": 6,
            "recovered": False,
            "reason": "too_old",
        }


async def test_a_closed_zone_cannot_be_joined(node: Node) -> None:
    """The `connect` reply omits a closed zone. When the zone opens, the session is closed with 4004."""
    store, token = node.engine.store.redis, await node.token("ann")
    await store.hset(keys.zone_meta(DEFAULT_ZONE), "epoch", "closed")
    await wait_until(lambda: not zone_stream(node).is_open)
    async with node.open_socket() as client:
        assert (await client.request(op="connect", token=token))["ok"]["zones"] == {}
        await store.hset(keys.zone_meta(DEFAULT_ZONE), "epoch", epoch_name(1))
        assert await client.wait_for_close() == 4004


async def test_two_gateways_deliver_the_same_log(node: Node, settings: Settings) -> None:
    """Each of two gateways delivers every event to its own sessions."""
    async with running_node(settings) as other, node.connect("ann") as client, other.connect("ann") as other_client:
        await node.append("user:ann", times=50)
        assert await client.next_seqs(50) == await other_client.next_seqs(50) == list(range(1, 51))


async def test_lag_is_measured(node: Node) -> None:
    """The relay measures the time from an event's commit to its delivery."""
    await node.wait_until_relayed(await node.append("user:ann"))
    await asyncio.sleep(0)
    assert 0 <= node.gateway.relay.lag_s < 1
    assert node.gateway.counters.relayed_events >= 1


async def test_a_disconnected_relay_is_not_ready(
    own_node: Node, own_valkey: OwnValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While its relay is disconnected, a gateway is not ready and refuses upgrades with 503."""
    monkeypatch.setattr(zone_group, "READ_BLOCK_S", 0.1)
    monkeypatch.setattr(relay, "REPLY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(relay, "DISCONNECTED_AFTER_S", 0.5)
    health = Health(own_node.engine, own_node.gateway)
    os.kill(own_valkey.process.pid, signal.SIGSTOP)
    await wait_until(lambda: health.problems() == ["the relay is disconnected from Redis"])
    with pytest.raises(InvalidStatus) as refused:
        async with own_node.open_socket():
            pass
    assert refused.value.response.status_code == 503
    os.kill(own_valkey.process.pid, signal.SIGCONT)
    await wait_until(lambda: not health.problems())
    async with own_node.connect("ann") as client:
        await own_node.append("user:ann")
        assert await client.next_seqs(1) == [1]


@pytest.mark.parametrize("trimmed", [False, True])
async def test_the_relay_reconnects_to_its_log(
    node: Node, settings: Settings, monkeypatch: pytest.MonkeyPatch, trimmed: bool
) -> None:
    """A relay that lost its connection continues from its cursor. If missed entries were trimmed in the meantime, its
    sessions are closed with 4004.
    """
    async with Proxy(settings.redis or "") as proxy:
        monkeypatch.setattr(Store, "open_stream_connection", lambda *_: connection_to(proxy.url))
        await node.engine.store.redis.client_kill_filter(_type="normal", skipme=True)
        await wait_until(lambda: proxy._writers and node.engine.store.pipeline.is_up)
        async with node.connect("ann") as client:
            seq = await node.append("user:ann")
            assert await client.next_seqs(1) == [seq]
            monkeypatch.setattr(Store, "open_stream_connection", lambda *_: connection_to("redis://127.0.0.1:1"))
            proxy.cut()
            await node.append("user:ann", times=5)
            if trimmed:
                await node.engine.store.redis.xtrim(keys.log(DEFAULT_ZONE), minid=f"{seq + 4}-0", approximate=False)
            monkeypatch.setattr(Store, "open_stream_connection", lambda *_: connection_to(proxy.url))
            if trimmed:
                assert await client.wait_for_close() == 4004
            else:
                assert await client.next_seqs(5) == list(range(seq + 1, seq + 6))
    assert node.gateway.counters.resyncs_by_reason == ({"trimmed": 1} if trimmed else {})


async def connection_to(url: str) -> StreamConnection:
    """Open a stream connection to the Redis at this URL."""
    line = StreamConnection(connect_function(url))
    await line.open()
    return line
