"""Resuming with a cursor: a client receives every missed event once and in order, or gets the reason why that is
impossible.
"""

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
from server.gateway.gateway import MAX_REPLAY_READS
from tests.server.gateway.conftest import Client, Node, running_node
from tests.support.epochs import epoch_name
from tests.support.wait import wait_until


def cursors_at(seq: int, epoch: str = "") -> dict[str, Any]:
    """Return the ``cursors`` of a `connect` for the zone `main`. ``epoch`` "" means the first epoch."""
    return {"main": {"epoch": epoch or epoch_name(1), "seq": seq}}


def zone_in_reply(client: Client) -> dict[str, Any]:
    """Return the part of the `connect` reply about the zone `main`."""
    zone: dict[str, Any] = client.hello["zones"]["main"]
    return zone


async def test_members_of_the_connect_reply(node: Node) -> None:
    """The `connect` reply contains the session, the user, the ping times, and for each zone its epoch and head."""
    seq = await node.append("user:bob", times=5)
    await node.wait_until_relayed(seq)
    async with node.connect("ann", app={"name": "test", "version": "1"}) as client:
        hello = client.hello
        assert hello["user"] == {"id": "ann", "role": "customer"}
        assert (hello["ping"], hello["pong"]) == (25, 10)
        assert hello["zones"] == {"main": {"epoch": epoch_name(1), "seq": seq, "recovered": False}}
        assert hello["poll"] == {"connected": 60, "disconnected": 15}
        assert 3500 < hello["expires_in"] <= 3600
        assert {"session", "now", "fix"} <= set(hello)


async def test_missed_events_are_replayed_first(node: Node) -> None:
    """Missed events arrive first and in order, then new events. Events of other users do not arrive."""
    first = await node.append("user:ann")
    await node.append("user:bob", times=3)
    second = await node.append("role:customer user:ann")
    await node.wait_until_relayed(await node.append("user:bob"))
    async with node.connect("ann", cursors=cursors_at(0)) as client:
        assert zone_in_reply(client) == {"epoch": epoch_name(1), "seq": second + 1, "recovered": True, "missed": 2}
        third = await node.append("user:ann")
        assert await client.next_seqs(3) == [first, second, third]
    async with node.connect("ann", cursors=cursors_at(second)) as client:
        assert zone_in_reply(client)["missed"] == 1
        assert await client.next_seqs(1) == [third]
    assert node.gateway.counters.resumes_by_outcome["recovered"] == 2


async def test_nothing_missed(node: Node) -> None:
    """A client whose cursor is the head gets no replay, and no event at or below its cursor."""
    seq = await node.append("user:ann", times=3)
    await node.wait_until_relayed(seq)
    async with node.connect("ann", cursors=cursors_at(seq)) as client:
        assert zone_in_reply(client)["missed"] == 0
        last = await node.append("user:ann")
        assert await client.next_seqs(1) == [last]


async def test_more_than_1000_missed_events_are_too_old(node: Node) -> None:
    """Up to 1,000 missed events are replayed. With 1,001 the reason is `too_old`: none is replayed, and new events
    arrive.
    """
    seq = await node.append("user:ann", times=1_001)
    await node.wait_until_relayed(seq)
    async with node.connect("ann", cursors=cursors_at(1)) as client:
        assert zone_in_reply(client)["missed"] == 1_000
        assert await client.next_seqs(1_000) == list(range(2, seq + 1))
    async with node.connect("ann", cursors=cursors_at(0)) as client:
        assert zone_in_reply(client) == {"epoch": epoch_name(1), "seq": seq, "recovered": False, "reason": "too_old"}
        last = await node.append("user:ann")
        assert await client.next_seqs(1) == [last]
    assert node.gateway.counters.resumes_by_outcome["too_old"] == 1


async def test_more_than_512_kib_are_too_old(node: Node) -> None:
    """A replay of more than 512 KiB is refused as `too_old`."""
    data = '{"text":"' + "x" * 60_000 + '"}'
    await node.wait_until_relayed(await node.append("user:ann", times=8, data=data))
    async with node.connect("ann", cursors=cursors_at(0)) as client:
        assert zone_in_reply(client)["missed"] == 8
    await node.wait_until_relayed(await node.append("user:ann", data=data))
    async with node.connect("ann", cursors=cursors_at(0)) as client:
        assert zone_in_reply(client)["reason"] == "too_old"


async def test_unknown_epoch(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cursor of an unknown epoch waits for ``WAIT_S`` and is then refused as `epoch`."""
    monkeypatch.setattr(resume, "MAX_WAIT_S", 0.1)
    await node.wait_until_relayed(await node.append("user:ann"))
    async with node.connect("ann", cursors=cursors_at(1, epoch_name(9))) as client:
        assert zone_in_reply(client) == {"epoch": epoch_name(1), "seq": 1, "recovered": False, "reason": "epoch"}


async def test_cursor_beyond_the_head(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client with a cursor beyond the relay's position waits. If the relay does not reach the cursor within
    ``WAIT_S``, the cursor is refused as `epoch`.
    """
    hello = asyncio.create_task(_connect_reply(node, cursors_at(3)))
    await asyncio.sleep(0)
    await node.append("user:ann", times=5)
    assert (await hello)["zones"]["main"]["recovered"] is True
    monkeypatch.setattr(resume, "MAX_WAIT_S", 0.1)
    assert (await _connect_reply(node, cursors_at(99)))["zones"]["main"]["reason"] == "epoch"


async def test_a_cursor_of_an_epoch_new_to_the_gateway(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client with a cursor of a newer epoch, which another gateway has already read, waits until this gateway has
    read it. Neither events of other zones nor the name of the epoch alone end the wait.
    """
    monkeypatch.setattr(resume, "MAX_WAIT_S", 30)
    async with running_node(msgspec.structs.replace(settings, zones=("main", "north"))) as node:
        tail = node.gateway.relay.tails[DEFAULT_ZONE]
        await node.wait_until_relayed(await node.append("user:ann", times=6))
        connect_task = asyncio.create_task(_connect_reply(node, cursors_at(5, epoch_name(2))))
        await wait_until(lambda: tail._waiting)
        await node.wait_until_relayed(await node.append("user:bob", zone="north"), "north")
        redis = node.engine.store.redis
        await redis.hset(keys.epochs(DEFAULT_ZONE), mapping={epoch_name(2): 7})
        await redis.hset(keys.zone_meta(DEFAULT_ZONE), mapping={"epoch": epoch_name(2)})
        hello = await connect_task
        assert hello["zones"]["main"] == {"epoch": epoch_name(2), "seq": 6, "recovered": True, "missed": 1}
        ahead = asyncio.create_task(_connect_reply(node, cursors_at(8, epoch_name(3))))
        await wait_until(lambda: tail._waiting)
        await redis.hset(keys.epochs(DEFAULT_ZONE), mapping={epoch_name(3): 7})
        await redis.hset(keys.zone_meta(DEFAULT_ZONE), mapping={"epoch": epoch_name(3)})
        await wait_until(lambda: tail.epoch == epoch_name(3))
        await node.append("user:ann", times=3)
        assert (await ahead)["zones"]["main"]["recovered"] is True


async def test_waiting_clients_do_not_delay_the_others(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clients whose cursors are beyond the head do not delay clients with a valid cursor or none."""
    monkeypatch.setattr(resume, "MAX_WAIT_S", 3600)
    waiting = [asyncio.create_task(_connect_reply(node, cursors_at(99))) for _ in range(MAX_REPLAY_READS + 1)]
    await wait_until(lambda: len(node.gateway.relay.tails[DEFAULT_ZONE]._waiting) == len(waiting))
    assert (await _connect_reply(node, cursors_at(0)))["zones"]["main"]["recovered"] is True
    assert "seq" in (await _connect_reply(node, {}))["zones"]["main"]
    await node.append("user:bob", times=99)
    assert all(hello["zones"]["main"]["recovered"] for hello in await asyncio.gather(*waiting))


async def _connect_reply(node: Node, cursors: dict[str, Any]) -> dict[str, Any]:
    """Connect as ann with these cursors and return the reply."""
    async with node.connect("ann", cursors=cursors) as client:
        hello: dict[str, Any] = client.hello
        return hello


async def test_older_epochs(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cursor of an older epoch is valid if and only if it is below the first seq of the next epoch. Otherwise it is
    refused at once, because it can never become valid.
    """
    monkeypatch.setattr(resume, "MAX_WAIT_S", 3600)
    await node.wait_until_relayed(await node.append("user:ann", times=10))
    redis = node.engine.store.redis
    await redis.hset(keys.epochs(DEFAULT_ZONE), mapping={epoch_name(2): 11})
    await redis.hset(keys.zone_meta(DEFAULT_ZONE), mapping={"epoch": epoch_name(2)})
    await node.wait_until_relayed(await node.append("user:ann", times=5))
    await node.gateway.relay.tails[DEFAULT_ZONE].wait_for_seq(10**9, 3)
    assert node.gateway.relay.tails[DEFAULT_ZONE].epoch == epoch_name(2)
    assert node.gateway.counters.resyncs_by_reason == {}
    for cursor, expected in (
        (cursors_at(10, epoch_name(1)), {"recovered": True, "missed": 5}),
        (cursors_at(11, epoch_name(1)), {"recovered": False, "reason": "epoch"}),
        (cursors_at(11, epoch_name(2)), {"recovered": True, "missed": 4}),
        (cursors_at(4, epoch_name(2)), {"recovered": True, "missed": 11}),
    ):
        async with node.connect("ann", cursors=cursor) as client:
            assert zone_in_reply(client) == {"epoch": epoch_name(2), "seq": 15} | expected


async def test_zones_not_served_are_left_out(node: Node) -> None:
    """A cursor of a zone that this gateway does not serve is ignored. The reply contains the served zones."""
    async with node.connect("ann", cursors={"mars": {"epoch": epoch_name(1), "seq": 1}}) as client:
        assert list(client.hello["zones"]) == ["main"]


async def test_several_zones(settings: Settings) -> None:
    """Each zone is resumed from its own cursor."""
    async with running_node(msgspec.structs.replace(settings, zones=("main", "north"))) as node:
        await node.wait_until_relayed(await node.append("user:ann", times=2))
        await node.wait_until_relayed(await node.append("user:ann", times=3, zone="north"), "north")
        async with node.connect("ann", cursors={"north": {"epoch": epoch_name(1), "seq": 1}}) as client:
            zones = client.hello["zones"]
            assert (zones["main"]["recovered"], zones["north"]["missed"]) == (False, 2)
            assert await client.next_seqs(2) == [2, 3]


async def test_subscriptions_are_restored_before_the_replay(node: Node) -> None:
    """A replay contains the events of the restored subscriptions."""
    await node.wait_until_relayed(await node.append("user:bob", times=4))
    async with node.connect("eve", "admin", cursors=cursors_at(1), subs=["zone:main"]) as client:
        assert client.hello["subs"] == ["zone:main"]
        assert await client.next_seqs(3) == [2, 3, 4]


# Events older than the replay buffer


@pytest.fixture
def small_buffer_settings(settings: Settings) -> Settings:
    """Return settings with a very small replay buffer."""
    return msgspec.structs.replace(settings, memory_bytes=200_000)


async def test_older_events_are_read_from_the_log(small_buffer_settings: Settings) -> None:
    """Events older than the replay buffer are read from the log and joined with those of the buffer without a gap."""
    async with running_node(small_buffer_settings) as node:
        first = await node.append("user:ann")
        await node.append("user:bob", times=3_000)
        last = await node.append("user:ann")
        await node.wait_until_relayed(last)
        assert (node.gateway.relay.tails[DEFAULT_ZONE].buffer.first_seq or 0) > first
        async with node.connect("ann", cursors=cursors_at(0)) as client:
            assert zone_in_reply(client)["missed"] == 2
            assert await client.next_seqs(2) == [first, last]


async def test_older_events_are_read_from_sql(small_buffer_settings: Settings) -> None:
    """Events older than the log are read from SQL."""
    async with running_node(small_buffer_settings) as node:
        first = await node.append("user:ann", data='{"job":null}')
        await node.append("user:bob", times=1_500)
        for _ in range(10):
            await archiver.run_once(node.engine)
        last = await node.append("user:ann")
        await node.append("user:bob", times=500)
        await node.engine.store.redis.xtrim(keys.log(DEFAULT_ZONE), minid=f"{last - 300}-0", approximate=False)
        async with node.connect("ann", cursors=cursors_at(0)) as client:
            assert zone_in_reply(client)["missed"] == 2
            assert await client.next_seqs(2) == [first, last]


async def test_events_deleted_from_sql_are_too_old(small_buffer_settings: Settings) -> None:
    """If SQL's oldest events were deleted, a cursor that misses a deleted event is refused as `too_old`, and a later
    cursor is resumed. More than 1,000 events from SQL are `too_old` too.
    """
    async with running_node(small_buffer_settings) as node:
        last = await node.append("user:ann", times=1_500, data='{"job":null}')
        await node.append("user:bob", times=500)
        for _ in range(10):
            await archiver.run_once(node.engine)
        head = await node.append("user:bob", times=2_000)
        await node.wait_until_relayed(head)
        await node.engine.store.redis.xtrim(keys.log(DEFAULT_ZONE), minid=f"{last + 300}-0", approximate=False)
        async with node.engine.archive.begin_write() as conn:
            await conn.execute(delete(events).where(events.c.seq <= 600))
        for cursor, expected in (
            (599, {"recovered": False, "reason": "too_old"}),
            (600, {"recovered": True, "missed": 900}),
            (last - 1, {"recovered": True, "missed": 1}),
        ):
            async with node.connect("ann", cursors=cursors_at(cursor)) as client:
                assert zone_in_reply(client) == {"epoch": epoch_name(1), "seq": head} | expected
                if expected["recovered"]:
                    assert await client.next_seqs(last - cursor) == list(range(cursor + 1, last + 1))
        async with node.connect("eve", "admin", cursors=cursors_at(600), subs=["zone:main"]) as client:
            assert zone_in_reply(client)["reason"] == "too_old"


async def test_events_in_neither_log_nor_sql_are_too_old(small_buffer_settings: Settings) -> None:
    """If the missed events are in neither the log nor SQL, the cursor is refused as `too_old`. There is no
    silent gap.
    """
    async with running_node(small_buffer_settings) as node:
        last = await node.append("user:ann", times=3_000)
        await node.wait_until_relayed(last)
        await node.engine.store.redis.xtrim(keys.log(DEFAULT_ZONE), minid=f"{last - 10}-0", approximate=False)
        async with node.connect("ann", cursors=cursors_at(0)) as client:
            assert zone_in_reply(client)["reason"] == "too_old"


async def test_a_gateway_that_starts_reads_the_log_first(settings: Settings) -> None:
    """A new gateway fills its replay buffer from the log, and can resume events from before its start."""
    async with running_node(settings) as node:
        await node.wait_until_relayed(await node.append("user:ann", times=20))
    async with running_node(settings) as node:
        assert node.gateway.relay.tails[DEFAULT_ZONE].buffer.first_seq == 1
        async with node.connect("ann", cursors=cursors_at(5)) as client:
            assert await client.next_seqs(15) == list(range(6, 21))


async def test_a_quiet_client_resumes_from_its_head(settings: Settings) -> None:
    """A client that received only heads during 100,000 events of others resumes with nothing missed."""
    lively = msgspec.structs.replace(settings, ping_s=0.5)
    async with running_node(lively) as node:
        seq = await node.append("user:bob", times=100_000, data="{}")
        async with node.connect("ann") as client:
            head = {"seq": 0}
            while head.get("seq", 0) < seq:
                head = msgspec.json.decode(await client.socket.recv())
                await client.send("{}")
        more = await node.append("user:bob", times=100)
        await node.wait_until_relayed(more)
        async with node.connect("ann", cursors=cursors_at(seq)) as client:
            assert zone_in_reply(client) == {"epoch": epoch_name(1), "seq": more, "recovered": True, "missed": 0}


# Many cuts


async def test_cut_again_and_again(node: Node) -> None:
    """A client that is cut at random moments under load receives every event once and in order."""
    total, rounds = 3_000, random.Random(7)
    stop = asyncio.Event()

    async def append_events() -> None:
        for _ in range(total // 10):
            await node.append("user:ann role:customer user:bob", times=5)
            await node.append("user:bob", times=3)
            await node.append("user:ann", times=5)
        stop.set()

    loading = asyncio.create_task(append_events())
    seqs: list[int] = []
    cursor = 0
    cuts = 0
    while len(seqs) < total:
        async with node.connect("ann", cursors=cursors_at(cursor)) as client:
            assert zone_in_reply(client)["recovered"] is True
            for _ in range(rounds.randint(1, 200)):
                if len(seqs) == total:
                    break
                cursor = (await client.next_push())["seq"]
                seqs.append(cursor)
            cuts += 1
            client.socket.transport.abort()
    await loading
    assert seqs == sorted(set(seqs))
    assert len(seqs) == total
    assert cuts > 10
