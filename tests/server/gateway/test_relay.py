"""The relay through what Redis may do to it: go away, stop, forget, roll back. A pause is allowed, a gap never."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from engine.process.settings import Settings
from engine.store import keys
from engine.store.connection import Store, _connect_function
from engine.store.stream_connection import StreamConnection
from engine.types import DEFAULT_ZONE
from server.gateway import relay
from server.gateway.zone_stream import ZoneStream
from server.health import Health
from server.serve import running
from tests.server.gateway.conftest import Client, Node, node_of
from tests.server.gateway.streams import site_of
from tests.support import epochs, valkey
from tests.support.epochs import epoch_name
from tests.support.proxy import Proxy
from tests.support.wait import wait_until


class Server:
    """A Valkey of the test's own, to be stopped and killed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = valkey.free_port()
        self.lives: list[str] = []
        self.start()

    def start(self) -> None:
        """Start it, again on the same file and port. On a busy disk ``everysec`` may lose what was just written."""
        self.process, self.url = valkey.start(self.folder, "--appendfsync", "always", port=self.port)
        self.lives.append(epochs.current_epoch_name(len(self.lives) + 1, self.url))

    def epoch_name(self, number: int) -> str:
        """The epoch of its n-th life."""
        return self.lives[number - 1]

    def kill(self) -> None:
        """As a power cut would, almost."""
        self.process.kill()
        self.process.wait()


@pytest.fixture
def server(tmp_path: Path) -> AsyncIterator[Server]:
    folder = tmp_path / "redis"
    folder.mkdir()
    server = Server(folder)
    yield server
    server.kill()


@pytest.fixture
async def lone(server: Server, tmp_path: Path) -> AsyncIterator[Node]:
    """A gateway on that server."""
    async with node_of(Settings(data=str(tmp_path / "data"), redis=server.url, limits="off")) as node:
        yield node


def tail_of(node: Node) -> ZoneStream:
    return node.gateway.relay.tails[DEFAULT_ZONE]


async def test_redis_killed_and_started_again(lone: Node, server: Server) -> None:
    """Redis comes back with its log: the relay reads on, under the new epoch, and no session notices."""
    async with lone.client("ann") as client:
        await lone.append("user:ann", times=3)
        assert await client.seqs(3) == [1, 2, 3]
        server.kill()
        server.start()
        await wait_until(lambda: lone.engine.store.zones[DEFAULT_ZONE].epoch == server.epoch_name(2))
        await wait_until(lambda: lone.engine.store.packed.is_up)
        await lone.append("user:ann", times=3)
        assert await client.seqs(3) == [4, 5, 6]
        await wait_until(lambda: tail_of(lone).epoch == server.epoch_name(2))
    assert lone.gateway.counters.resyncs == {}
    async with lone.client("ann", cursors={"main": {"epoch": server.epoch_name(1), "seq": 3}}) as client:
        assert client.hello["zones"]["main"]["missed"] == 3


async def follow(client: Client, count: int, at: dict[str, Any]) -> list[int]:
    """The seqs of the next ``count`` pushes; ``at`` goes with them, and with heads, as a client's cursor does."""
    seqs: list[int] = []
    while len(seqs) < count:
        async with asyncio.timeout(10):
            frame = json.loads(await client.socket.recv())
        at |= {name: frame[name] for name in ("epoch", "seq") if name in frame}
        if "type" in frame:
            seqs.append(frame["seq"])
    return seqs


async def new_life(node: Node, server: Server) -> None:
    """Redis ends and comes back with its log, and the zone is open again."""
    server.kill()
    server.start()
    await wait_until(
        lambda: node.engine.store.zones[DEFAULT_ZONE].epoch == server.epoch_name(2) and node.engine.store.packed.is_up
    )


@pytest.mark.parametrize("heard", [0, 1, 5])
async def test_cut_after_redis_came_back(lone: Node, server: Server, heard: int) -> None:
    """Redis comes back with its log; a client that is cut long before the next ping, with nothing or something heard
    since, is recovered: it gets what it has not had, once, and needs no snapshot.
    """
    at: dict[str, Any] = {"epoch": server.epoch_name(1), "seq": 0}
    async with lone.client("ann") as client:
        await lone.append("user:ann", times=3)
        got = await follow(client, 3, at)
        await new_life(lone, server)
        if heard:
            await lone.append("user:ann", times=heard)
        got += await follow(client, heard, at)
        client.socket.transport.abort()
    await lone.append("user:ann", times=3)
    async with lone.client("ann", cursors={"main": at}) as client:
        assert client.hello["zones"]["main"]["recovered"] is True
        assert got + await follow(client, 3, at) == list(range(1, heard + 7))


async def test_the_head_of_a_new_epoch_comes_before_its_first_event(
    lone: Node, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the relay was back before the zone was opened: what is appended at once does not reach anybody under
    the name of the life before. Who has not connected yet is told nothing.
    """
    opened, opener = asyncio.Event(), lone.engine.store.opener

    async def late(*args: Any) -> None:
        await opened.wait()
        await opener(*args)

    bearer = await lone.token("bob")
    async with lone.client("ann") as client, lone.raw() as silent:
        await lone.append("user:ann", times=3)
        assert await client.seqs(3) == [1, 2, 3]
        monkeypatch.setattr(lone.engine.store, "opener", late)
        server.kill()
        server.start()
        back = monotonic()
        await wait_until(lambda: lone.gateway.relay._checked_at > back, what="a look at the log after the restart")
        assert tail_of(lone).epoch == server.epoch_name(1)
        opened.set()
        await wait_until(lambda: lone.engine.store.packed.is_up)
        await lone.append("user:ann")
        frames = [json.loads(await client.socket.recv()) for _ in range(2)]
        assert (frames[0], frames[1]["seq"]) == ({"zone": "main", "epoch": server.epoch_name(2), "seq": 3}, 4)
        await silent.send({"id": 1, "op": "connect", "token": bearer})
        assert json.loads(await silent.socket.recv())["ok"]["zones"]["main"]["epoch"] == server.epoch_name(2)
    assert lone.gateway.counters.resyncs == {}


async def test_streams_and_polls_after_redis_came_back(server: Server, tmp_path: Path) -> None:
    """So with a stream: each event of the new life is under a cursor of it, a head comes before. A poll that waits is
    not woken by it, and answers with a cursor of the new life.
    """
    settings = Settings(data=str(tmp_path / "data"), redis=server.url, limits="off", port=0)
    async with running(settings) as serving, site_of(serving) as site:
        async with site.source("ann") as source:
            await site.node.append("user:ann")
            assert await source.seqs(1) == [1]
            asked = asyncio.create_task(site.poll("ann", after=f"main:{server.epoch_name(1)}:1", wait=30))
            await wait_until(lambda: site.gateway.streams.count == 2)
            await new_life(site.node, server)
            while source.last != f"main:{server.epoch_name(2)}:1":
                assert await source.block() is not None
            assert not asked.done()
            await site.node.append("user:ann")
            assert (await source.event()).id == f"main:{server.epoch_name(2)}:2"
            assert (await asked)["cursor"] == f"main:{server.epoch_name(2)}:2"
        async with site.source("ann", last=f"main:{server.epoch_name(2)}:2") as source:
            assert source.hello.data["recovered"] is True  # type: ignore[attr-defined]


async def test_redis_stopped(lone: Node, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Redis stands still: the relay says that it is deaf, takes nobody in, and goes on without a gap."""
    monkeypatch.setattr(relay, "BLOCK_S", 0.1)
    monkeypatch.setattr(relay, "REPLY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(relay, "DISCONNECTED_S", 0.5)
    async with lone.client("ann") as client:
        await lone.append("user:ann", times=2)
        assert await client.seqs(2) == [1, 2]
        os.kill(server.process.pid, signal.SIGSTOP)
        await wait_until(lambda: lone.gateway.relay.disconnected)
        os.kill(server.process.pid, signal.SIGCONT)
        await wait_until(lambda: not lone.gateway.relay.disconnected)
        await lone.append("user:ann", times=2)
        assert await client.seqs(2) == [3, 4]
    assert lone.gateway.counters.resyncs == {}


async def test_flushed(node: Node) -> None:
    """Everything is deleted under a running gateway: within seconds every session is told to resynchronise."""
    async with node.client("ann") as client:
        await node.relayed(await node.append("user:ann", times=5))
        await node.engine.store.redis.flushall()
        assert await client.closed() == 4004
    assert node.gateway.counters.resyncs["rollback"] == 1
    await wait_until(lambda: tail_of(node).open or not node.engine.store.zones[DEFAULT_ZONE].open)


async def test_rolled_back(node: Node) -> None:
    """An older log under a running gateway: sessions resynchronise, and their cursors are refused as epoch."""
    store = node.engine.store.redis
    async with node.client("ann") as client:
        await node.relayed(await node.append("user:ann", times=10))
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
        assert await client.closed() == 4004
    await wait_until(lambda: tail_of(node).head.epoch == epoch_name(2))
    assert tail_of(node).cursor == 6


async def test_another_life_of_equal_length(node: Node) -> None:
    """Another life that has grown beyond our cursor before we look is told by its epoch, not by its numbers."""
    store = node.engine.store.redis
    async with node.client("ann") as client:
        await node.relayed(await node.append("user:ann", times=10))
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
        assert await client.closed() == 4004
    assert node.gateway.counters.resyncs["epoch"] == 1


async def test_trimmed_below_the_reader(node: Node) -> None:
    """Entries that vanish before they were read are a gap: the sessions are told, nothing is passed over."""
    async with node.client("ann") as client:
        await node.relayed(await node.append("user:ann"))
        await node.engine.store.redis.eval(
            "redis.call('HINCRBY', KEYS[1], 'seq', 5)"
            "redis.call('XADD', KEYS[2], '6-0', 'type', 't', 'to', 'user:ann', 'at', 1, 'actor', 'engine',"
            "'bp', '', 'data', '{}', 'cause', '')",
            2,
            keys.zone_meta(DEFAULT_ZONE),
            keys.log(DEFAULT_ZONE),
        )
        assert await client.closed() == 4004
    assert node.gateway.counters.resyncs["trimmed"] == 1
    async with node.client("ann", cursors={"main": {"epoch": epoch_name(1), "seq": 1}}) as client:
        assert client.hello["zones"]["main"] == {
            "epoch": epoch_name(1),
            "seq": 6,
            "recovered": False,
            "reason": "too_old",
        }


async def test_a_closed_zone_cannot_be_joined(node: Node) -> None:
    """A zone that is being rebuilt is left out of the reply; when a new life opens, everybody joins anew."""
    store, token = node.engine.store.redis, await node.token("ann")
    await store.hset(keys.zone_meta(DEFAULT_ZONE), "epoch", "closed")
    await wait_until(lambda: not tail_of(node).open)
    async with node.raw() as client:
        assert (await client.ask(op="connect", token=token))["ok"]["zones"] == {}
        await store.hset(keys.zone_meta(DEFAULT_ZONE), "epoch", epoch_name(1))
        assert await client.closed() == 4004


async def test_two_gateways_one_log(node: Node, settings: Settings) -> None:
    """Each gateway hands on each event to its own sessions."""
    async with node_of(settings) as other, node.client("ann") as here, other.client("ann") as there:
        await node.append("user:ann", times=50)
        assert await here.seqs(50) == await there.seqs(50) == list(range(1, 51))


async def test_lag_is_measured(node: Node) -> None:
    """How long an event took from its commit to its hand-off can be read."""
    await node.relayed(await node.append("user:ann"))
    await asyncio.sleep(0)
    assert 0 <= node.gateway.relay.lag_s < 1
    assert node.gateway.counters.events >= 1


async def test_deaf_is_not_ready(lone: Node, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway that hears nothing says so where a load balancer looks, turns newcomers away, and takes it back."""
    monkeypatch.setattr(relay, "BLOCK_S", 0.1)
    monkeypatch.setattr(relay, "REPLY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(relay, "DISCONNECTED_S", 0.5)
    health = Health(lone.engine, lone.gateway)
    os.kill(server.process.pid, signal.SIGSTOP)
    await wait_until(lambda: health.problems() == ["the relay is deaf: no word from Redis"])
    with pytest.raises(InvalidStatus) as refused:
        async with lone.raw():
            pass
    assert refused.value.response.status_code == 503
    os.kill(server.process.pid, signal.SIGCONT)
    await wait_until(lambda: not health.problems())
    async with lone.client("ann") as client:
        await lone.append("user:ann")
        assert await client.seqs(1) == [1]


@pytest.mark.parametrize("trimmed", [False, True])
async def test_cut_off_from_its_log(
    node: Node, settings: Settings, monkeypatch: pytest.MonkeyPatch, trimmed: bool
) -> None:
    """A relay whose line was down reads on from its cursor; where what it missed was trimmed meanwhile, its sessions
    are told to resynchronise instead.
    """
    async with Proxy(settings.redis or "") as proxy:
        monkeypatch.setattr(Store, "open_stream_connection", lambda self: line_to(proxy.url))
        await node.engine.store.redis.client_kill_filter(_type="normal", skipme=True)
        await wait_until(lambda: proxy._writers and node.engine.store.packed.is_up)
        async with node.client("ann") as client:
            seq = await node.append("user:ann")
            assert await client.seqs(1) == [seq]
            monkeypatch.setattr(Store, "open_stream_connection", lambda self: line_to("redis://127.0.0.1:1"))
            proxy.cut()
            await node.append("user:ann", times=5)
            if trimmed:
                await node.engine.store.redis.xtrim(keys.log(DEFAULT_ZONE), minid=f"{seq + 4}-0", approximate=False)
            monkeypatch.setattr(Store, "open_stream_connection", lambda self: line_to(proxy.url))
            if trimmed:
                assert await client.closed() == 4004
            else:
                assert await client.seqs(5) == list(range(seq + 1, seq + 6))
    assert node.gateway.counters.resyncs == ({"trimmed": 1} if trimmed else {})


async def line_to(url: str) -> StreamConnection:
    """A line like the store's."""
    line = StreamConnection(_connect_function(url))
    await line.open()
    return line
