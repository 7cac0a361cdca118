"""Coming back with a cursor: everything missed, in order, once; or a plain word that it cannot be had."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import msgspec
import pytest
from sqlalchemy import delete

from engine.process.settings import Settings
from engine.sql.schema import events
from engine.store import keys
from engine.types import DEFAULT_ZONE
from engine.workers import archiver
from server.gateway import resume
from server.gateway.gateway import COLD_READS
from tests.server.gateway.conftest import Client, Node, node_of
from tests.support.epochs import epoch_name
from tests.support.wait import wait_until


def at(seq: int, epoch: str = "") -> dict[str, Any]:
    """``cursors`` of a hello."""
    return {"main": {"epoch": epoch or epoch_name(1), "seq": seq}}


def zone_of(client: Client) -> dict[str, Any]:
    """What the hello says of the zone."""
    told: dict[str, Any] = client.hello["zones"]["main"]
    return told


async def test_hello(node: Node) -> None:
    """The reply names session, user, the times of pings, and for each zone where one joins."""
    seq = await node.append("user:bob", times=5)
    await node.relayed(seq)
    async with node.client("ann", app={"name": "test", "version": "1"}) as client:
        hello = client.hello
        assert hello["user"] == {"id": "ann", "role": "customer"}
        assert (hello["ping"], hello["pong"]) == (25, 10)
        assert hello["zones"] == {"main": {"epoch": epoch_name(1), "seq": seq, "recovered": False}}
        assert hello["poll"] == {"connected": 60, "disconnected": 15}
        assert 3500 < hello["expires_in"] <= 3600
        assert {"session", "now", "fix"} <= set(hello)


async def test_recovered(node: Node) -> None:
    """The missed events come first, in order, then what happens now; others' events never."""
    first = await node.append("user:ann")
    await node.append("user:bob", times=3)
    second = await node.append("role:customer user:ann")
    await node.relayed(await node.append("user:bob"))
    async with node.client("ann", cursors=at(0)) as client:
        assert zone_of(client) == {"epoch": epoch_name(1), "seq": second + 1, "recovered": True, "missed": 2}
        third = await node.append("user:ann")
        assert await client.seqs(3) == [first, second, third]
    async with node.client("ann", cursors=at(second)) as client:
        assert zone_of(client)["missed"] == 1
        assert await client.seqs(1) == [third]
    assert node.gateway.counters.resumes["recovered"] == 2


async def test_nothing_missed(node: Node) -> None:
    """At the head nothing is replayed, and nothing at or below the cursor ever comes."""
    seq = await node.append("user:ann", times=3)
    await node.relayed(seq)
    async with node.client("ann", cursors=at(seq)) as client:
        assert zone_of(client)["missed"] == 0
        last = await node.append("user:ann")
        assert await client.seqs(1) == [last]


async def test_too_many(node: Node) -> None:
    """A thousand events are replayed; one more is too_old, and then nothing is replayed but what comes goes on."""
    seq = await node.append("user:ann", times=1_001)
    await node.relayed(seq)
    async with node.client("ann", cursors=at(1)) as client:
        assert zone_of(client)["missed"] == 1_000
        assert await client.seqs(1_000) == list(range(2, seq + 1))
    async with node.client("ann", cursors=at(0)) as client:
        assert zone_of(client) == {"epoch": epoch_name(1), "seq": seq, "recovered": False, "reason": "too_old"}
        last = await node.append("user:ann")
        assert await client.seqs(1) == [last]
    assert node.gateway.counters.resumes["too_old"] == 1


async def test_too_much(node: Node) -> None:
    """More than 512 KiB to replay is too_old as well."""
    data = '{"text":"' + "x" * 60_000 + '"}'
    await node.relayed(await node.append("user:ann", times=8, data=data))
    async with node.client("ann", cursors=at(0)) as client:
        assert zone_of(client)["missed"] == 8
    await node.relayed(await node.append("user:ann", data=data))
    async with node.client("ann", cursors=at(0)) as client:
        assert zone_of(client)["reason"] == "too_old"


async def test_unknown_epoch(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cursor of an epoch that nobody knows is waited for, then refused as epoch."""
    monkeypatch.setattr(resume, "WAIT_S", 0.1)
    await node.relayed(await node.append("user:ann"))
    async with node.client("ann", cursors=at(1, epoch_name(9))) as client:
        assert zone_of(client) == {"epoch": epoch_name(1), "seq": 1, "recovered": False, "reason": "epoch"}


async def test_cursor_beyond_the_head(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cursor that the relay has not reached yet is waited for, and is epoch if it never comes."""
    hello = asyncio.create_task(_hello_of(node, at(3)))
    await asyncio.sleep(0)
    await node.append("user:ann", times=5)
    assert (await hello)["zones"]["main"]["recovered"] is True
    monkeypatch.setattr(resume, "WAIT_S", 0.1)
    assert (await _hello_of(node, at(99)))["zones"]["main"]["reason"] == "epoch"


async def test_a_cursor_of_an_epoch_that_is_news(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """One who comes from a gateway that was quicker, with a cursor of an epoch that is news here, or beyond the head of
    one, is waited for until he can join; neither what other zones say nor the epoch's name alone ends that.
    """
    monkeypatch.setattr(resume, "WAIT_S", 30)
    async with node_of(msgspec.structs.replace(settings, zones=("main", "north"))) as node:
        tail = node.gateway.relay.tails[DEFAULT_ZONE]
        await node.relayed(await node.append("user:ann", times=6))
        asked = asyncio.create_task(_hello_of(node, at(5, epoch_name(2))))
        await wait_until(lambda: tail._waiting)
        await node.relayed(await node.append("user:bob", zone="north"), "north")
        redis = node.engine.store.redis
        await redis.hset(keys.epochs(DEFAULT_ZONE), mapping={epoch_name(2): 7})
        await redis.hset(keys.zone_meta(DEFAULT_ZONE), mapping={"epoch": epoch_name(2)})
        hello = await asked
        assert hello["zones"]["main"] == {"epoch": epoch_name(2), "seq": 6, "recovered": True, "missed": 1}
        ahead = asyncio.create_task(_hello_of(node, at(8, epoch_name(3))))
        await wait_until(lambda: tail._waiting)
        await redis.hset(keys.epochs(DEFAULT_ZONE), mapping={epoch_name(3): 7})
        await redis.hset(keys.zone_meta(DEFAULT_ZONE), mapping={"epoch": epoch_name(3)})
        await wait_until(lambda: tail.epoch == epoch_name(3))
        await node.append("user:ann", times=3)
        assert (await ahead)["zones"]["main"]["recovered"] is True


async def test_waiting_for_the_relay_keeps_nobody_else_waiting(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many come with a cursor that is beyond the head, whoever comes with a good one, or with none, joins."""
    monkeypatch.setattr(resume, "WAIT_S", 3600)
    waiting = [asyncio.create_task(_hello_of(node, at(99))) for _ in range(COLD_READS + 1)]
    await wait_until(lambda: len(node.gateway.relay.tails[DEFAULT_ZONE]._waiting) == len(waiting))
    assert (await _hello_of(node, at(0)))["zones"]["main"]["recovered"] is True
    assert "seq" in (await _hello_of(node, {}))["zones"]["main"]
    await node.append("user:bob", times=99)
    assert all(hello["zones"]["main"]["recovered"] for hello in await asyncio.gather(*waiting))


async def _hello_of(node: Node, cursors: dict[str, Any]) -> dict[str, Any]:
    async with node.client("ann", cursors=cursors) as client:
        hello: dict[str, Any] = client.hello
        return hello


async def test_older_epochs(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cursor of an older epoch is good exactly if it lies below the next one's first seq; it never will be else, so
    nothing is waited for.
    """
    monkeypatch.setattr(resume, "WAIT_S", 3600)
    await node.relayed(await node.append("user:ann", times=10))
    redis = node.engine.store.redis
    await redis.hset(keys.epochs(DEFAULT_ZONE), mapping={epoch_name(2): 11})
    await redis.hset(keys.zone_meta(DEFAULT_ZONE), mapping={"epoch": epoch_name(2)})
    await node.relayed(await node.append("user:ann", times=5))
    await node.gateway.relay.tails[DEFAULT_ZONE].wait_for_seq(10**9, 3)
    assert node.gateway.relay.tails[DEFAULT_ZONE].epoch == epoch_name(2)
    assert node.gateway.counters.resyncs == {}
    for cursor, expected in (
        (at(10, epoch_name(1)), {"recovered": True, "missed": 5}),
        (at(11, epoch_name(1)), {"recovered": False, "reason": "epoch"}),
        (at(11, epoch_name(2)), {"recovered": True, "missed": 4}),
        (at(4, epoch_name(2)), {"recovered": True, "missed": 11}),
    ):
        async with node.client("ann", cursors=cursor) as client:
            assert zone_of(client) == {"epoch": epoch_name(2), "seq": 15} | expected


async def test_zones_not_served_are_left_out(node: Node) -> None:
    """A cursor of a zone that this gateway does not tail is passed over: the reply names the zones that are."""
    async with node.client("ann", cursors={"mars": {"epoch": epoch_name(1), "seq": 1}}) as client:
        assert list(client.hello["zones"]) == ["main"]


async def test_several_zones(settings: Settings) -> None:
    """Each zone is resumed by its own cursor."""
    async with node_of(msgspec.structs.replace(settings, zones=("main", "north"))) as node:
        await node.relayed(await node.append("user:ann", times=2))
        await node.relayed(await node.append("user:ann", times=3, zone="north"), "north")
        async with node.client("ann", cursors={"north": {"epoch": epoch_name(1), "seq": 1}}) as client:
            zones = client.hello["zones"]
            assert (zones["main"]["recovered"], zones["north"]["missed"]) == (False, 2)
            assert await client.seqs(2) == [2, 3]


async def test_subscriptions_are_restored_before_the_replay(node: Node) -> None:
    """Events of a restored subscription are part of the replay."""
    await node.relayed(await node.append("user:bob", times=4))
    async with node.client("eve", "admin", cursors=at(1), subs=["zone:main"]) as client:
        assert client.hello["subs"] == ["zone:main"]
        assert await client.seqs(3) == [2, 3, 4]


# Further back than memory


@pytest.fixture
def forgetful(settings: Settings) -> Settings:
    """A gateway that remembers next to nothing."""
    return msgspec.structs.replace(settings, memory_bytes=200_000)


async def test_from_the_log(forgetful: Settings) -> None:
    """Below memory the window of the log is read, and joined with memory without a seam."""
    async with node_of(forgetful) as node:
        first = await node.append("user:ann")
        await node.append("user:bob", times=3_000)
        last = await node.append("user:ann")
        await node.relayed(last)
        assert (node.gateway.relay.tails[DEFAULT_ZONE].buffer.first or 0) > first
        async with node.client("ann", cursors=at(0)) as client:
            assert zone_of(client)["missed"] == 2
            assert await client.seqs(2) == [first, last]


async def test_from_the_archive(forgetful: Settings) -> None:
    """Below the log SQL is asked; what neither has is too_old."""
    async with node_of(forgetful) as node:
        first = await node.append("user:ann", data='{"job":null}')
        await node.append("user:bob", times=1_500)
        for _ in range(10):
            await archiver.run_once(node.engine)
        last = await node.append("user:ann")
        await node.append("user:bob", times=500)
        await node.engine.store.redis.xtrim(keys.log(DEFAULT_ZONE), minid=f"{last - 300}-0", approximate=False)
        async with node.client("ann", cursors=at(0)) as client:
            assert zone_of(client)["missed"] == 2
            assert await client.seqs(2) == [first, last]


async def test_older_than_the_archive_reaches(forgetful: Settings) -> None:
    """Where SQL's own beginning was deleted, a cursor below it is too_old and one just before it is served; more than
    1,000 events out of SQL are too_old as well.
    """
    async with node_of(forgetful) as node:
        last = await node.append("user:ann", times=1_500, data='{"job":null}')
        await node.append("user:bob", times=500)
        for _ in range(10):
            await archiver.run_once(node.engine)
        head = await node.append("user:bob", times=2_000)
        await node.relayed(head)
        await node.engine.store.redis.xtrim(keys.log(DEFAULT_ZONE), minid=f"{last + 300}-0", approximate=False)
        async with node.engine.archive.writing() as conn:
            await conn.execute(delete(events).where(events.c.seq <= 600))
        for cursor, told in (
            (599, {"recovered": False, "reason": "too_old"}),
            (600, {"recovered": True, "missed": 900}),
            (last - 1, {"recovered": True, "missed": 1}),
        ):
            async with node.client("ann", cursors=at(cursor)) as client:
                assert zone_of(client) == {"epoch": epoch_name(1), "seq": head} | told
                if told["recovered"]:
                    assert await client.seqs(last - cursor) == list(range(cursor + 1, last + 1))
        async with node.client("eve", "admin", cursors=at(600), subs=["zone:main"]) as client:
            assert zone_of(client)["reason"] == "too_old"


async def test_neither_log_nor_archive(forgetful: Settings) -> None:
    """What nobody has any more is too_old, never a silent gap."""
    async with node_of(forgetful) as node:
        last = await node.append("user:ann", times=3_000)
        await node.relayed(last)
        await node.engine.store.redis.xtrim(keys.log(DEFAULT_ZONE), minid=f"{last - 10}-0", approximate=False)
        async with node.client("ann", cursors=at(0)) as client:
            assert zone_of(client)["reason"] == "too_old"


async def test_a_gateway_that_starts_reads_the_log_first(settings: Settings) -> None:
    """A new gateway resumes from its memory what happened before it started."""
    async with node_of(settings) as node:
        await node.relayed(await node.append("user:ann", times=20))
    async with node_of(settings) as node:
        assert node.gateway.relay.tails[DEFAULT_ZONE].buffer.first == 1
        async with node.client("ann", cursors=at(5)) as client:
            assert await client.seqs(15) == list(range(6, 21))


async def test_quiet_while_many_passed(settings: Settings) -> None:
    """One who was quiet while 100,000 events of others passed is recovered, with nothing missed, from his head."""
    lively = msgspec.structs.replace(settings, ping_s=0.5)
    async with node_of(lively) as node:
        seq = await node.append("user:bob", times=100_000, data="{}")
        async with node.client("ann") as client:
            head = {"seq": 0}
            while head.get("seq", 0) < seq:
                head = msgspec.json.decode(await client.socket.recv())
                await client.send("{}")
        more = await node.append("user:bob", times=100)
        await node.relayed(more)
        async with node.client("ann", cursors=at(seq)) as client:
            assert zone_of(client) == {"epoch": epoch_name(1), "seq": more, "recovered": True, "missed": 0}


# Again and again


async def test_cut_again_and_again(node: Node) -> None:
    """A client that is cut at random moments under load gets every event once and in order."""
    total, rounds = 3_000, random.Random(7)
    stop = asyncio.Event()

    async def load() -> None:
        for _ in range(total // 10):
            await node.append("user:ann role:customer user:bob", times=5)
            await node.append("user:bob", times=3)
            await node.append("user:ann", times=5)
        stop.set()

    loading = asyncio.create_task(load())
    got: list[int] = []
    cursor = 0
    cuts = 0
    while len(got) < total:
        async with node.client("ann", cursors=at(cursor)) as client:
            assert zone_of(client)["recovered"] is True
            for _ in range(rounds.randint(1, 200)):
                if len(got) == total:
                    break
                cursor = (await client.push())["seq"]
                got.append(cursor)
            cuts += 1
            client.socket.transport.abort()
    await loading
    assert got == sorted(set(got))
    assert len(got) == total
    assert cuts > 10
