"""Long polls: a poll returns missed events at once. Otherwise it waits for the next event, and returns the head when
its time is over.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx
import msgspec
import pytest

from engine.process.settings import Settings
from engine.store import keys
from engine.types import DEFAULT_ZONE
from server.gateway import resume
from server.schemas.events import EventPage
from server.serve import RunningServer, run_server
from tests.server.gateway.streams import EventServer, open_event_server
from tests.support import live_accounts
from tests.support.epochs import epoch_name
from tests.support.wait import wait_until


@pytest.fixture
async def site(server: RunningServer) -> AsyncIterator[EventServer]:
    """Run a whole server."""
    async with open_event_server(server) as opened:
        yield opened


def seqs_of(reply: dict[str, list[dict[str, int]]]) -> list[int]:
    """Return the seqs of the events in the reply to a poll."""
    return [event["seq"] for event in reply["events"]]


async def wait_for_polls(site: EventServer, count: int = 1) -> None:
    """Wait until ``count`` polls are waiting at the gateway."""
    await wait_until(lambda: site.gateway.streams.count == count)


async def test_without_a_cursor_a_poll_returns_at_once(site: EventServer) -> None:
    """A poll without a cursor returns the head at once, with `recovered` false."""
    await site.node.wait_until_relayed(await site.node.append("user:ann", times=3))
    assert await site.poll("ann", wait=30) == {"events": [], "cursor": f"main:{epoch_name(1)}:3", "recovered": False}
    assert await site.poll("ann", after="", wait=30) == {
        "events": [],
        "cursor": f"main:{epoch_name(1)}:3",
        "recovered": False,
    }


async def test_a_poll_names_why_it_cannot_resume(site: EventServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A poll whose cursor cannot be resumed returns at once with the reason, without events and with the head as its
    cursor.
    """
    monkeypatch.setattr(resume, "MAX_WAIT_S", 0.1)
    await site.node.wait_until_relayed(await site.node.append("user:ann", times=1_001))
    for after, reason in (
        (f"main:{epoch_name(9)}:1", "epoch"),
        (f"main:{epoch_name(1)}:5000", "epoch"),
        (f"main:{epoch_name(1)}:0", "too_old"),
    ):
        reply = await site.poll("ann", after=after, wait=30)
        assert reply == {"events": [], "cursor": f"main:{epoch_name(1)}:1001", "recovered": False, "reason": reason}
    assert len(seqs_of(await site.poll("ann", after=f"main:{epoch_name(1)}:1", wait=30))) == 1_000


async def test_missed_events_are_returned_at_once(site: EventServer) -> None:
    """A poll returns the user's events since the cursor at once, in order and whole, with the cursor for the
    next poll.
    """
    await site.node.append("user:ann", times=2)
    await site.node.append("user:bob", times=2)
    await site.node.wait_until_relayed(await site.node.append("user:ann role:customer"))
    answer = await site.request_events("ann", after=f"main:{epoch_name(1)}:1", wait=30)
    reply = msgspec.json.decode(answer.content, type=EventPage)
    assert [event.seq for event in reply.events] == [2, 5]
    assert (reply.cursor, reply.recovered) == (f"main:{epoch_name(1)}:5", True)


async def test_a_poll_waits_for_the_first_event(site: EventServer) -> None:
    """A poll that has missed nothing waits for the user's next event. Events of other users do not end it."""
    poll_task = asyncio.create_task(site.poll("ann", after=f"main:{epoch_name(1)}:0", wait=30))
    await wait_for_polls(site)
    await site.node.wait_until_relayed(await site.node.append("user:bob", times=3))
    assert not poll_task.done()
    await site.node.append("user:ann", times=2)
    reply = await poll_task
    assert seqs_of(reply)[0] == 4 and reply["recovered"]
    rest = await site.poll("ann", after=reply["cursor"], wait=0)
    assert seqs_of(reply) + seqs_of(rest) == [4, 5]
    assert not site.gateway.sessions


async def test_a_poll_ends_after_its_time(site: EventServer) -> None:
    """When its time is over, a poll returns no event and the head, so that the cursor of a quiet client moves."""
    began = time.monotonic()
    poll_task = asyncio.create_task(site.poll("ann", after=f"main:{epoch_name(1)}:0", wait=0.5))
    await wait_for_polls(site)
    await site.node.append("user:bob", times=3)
    assert await poll_task == {"events": [], "cursor": f"main:{epoch_name(1)}:3", "recovered": True}
    assert 0.4 < time.monotonic() - began < 5
    reply = await site.poll("ann", after=f"main:{epoch_name(1)}:3")
    assert reply == {"events": [], "cursor": f"main:{epoch_name(1)}:3", "recovered": True}


async def test_a_cursor_ahead_of_the_relay_is_waited_for(site: EventServer) -> None:
    """A poll whose cursor another gateway issued, and which this relay has not reached yet, waits and is not
    refused.
    """
    poll_task = asyncio.create_task(site.poll("ann", after=f"main:{epoch_name(1)}:2", wait=30))
    await site.node.append("user:ann", times=3)
    assert seqs_of(await poll_task) == [3]


async def test_types_and_channels(site: EventServer) -> None:
    """Events of other types than the named ones neither end the poll nor are returned. The cursor still moves past
    those events.
    """
    query = {"types": "job.*", "channels": "user:ann,user:bob"}
    poll_task = asyncio.create_task(site.poll("boss", "admin", after=f"main:{epoch_name(1)}:0", wait=30, **query))
    await wait_for_polls(site)
    await site.node.append("user:ann", kind="offer.created")
    await site.node.append("role:ops", kind="job.status")
    await site.node.append("user:bob", kind="job.status")
    assert seqs_of(await poll_task) == [3]
    await site.node.wait_until_relayed(await site.node.append("user:bob", kind="offer.closed"))
    reply = await site.poll("boss", "admin", after=f"main:{epoch_name(1)}:3", wait=0, **query)
    assert (seqs_of(reply), reply["cursor"]) == ([], f"main:{epoch_name(1)}:4")


async def test_an_aborted_poll_leaves_nothing(site: EventServer) -> None:
    """A poll whose client disconnects ends at the gateway."""
    headers = await site.bearer_header("ann")
    with pytest.raises(httpx.ReadTimeout):
        await site.http.get(
            "/v1/events", params={"after": f"main:{epoch_name(1)}:0", "wait": 60}, headers=headers, timeout=0.3
        )
    await wait_until(lambda: not site.gateway.sessions)


async def test_a_user_suspended_during_a_poll_is_refused(site: EventServer) -> None:
    """If its user is suspended, a waiting poll gets 403."""
    headers = await site.bearer_header("ann")
    query = {"after": f"main:{epoch_name(1)}:0", "wait": "30"}
    request_task = asyncio.create_task(site.http.get("/v1/events", params=query, headers=headers))
    await wait_for_polls(site)
    await live_accounts.suspend(site.running.engine, "ann", "customer")
    assert (await request_task).status_code == 403


async def test_a_drain_ends_waiting_polls(site: EventServer) -> None:
    """A drain ends a waiting poll with 503 and Retry-After. The client repeats it at another gateway with the same
    cursor.
    """
    request_task = asyncio.create_task(site.request_events("ann", after=f"main:{epoch_name(1)}:0", wait=30))
    await wait_for_polls(site)
    await site.gateway.stop()
    answer = await request_task
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize("place", ["log", "sql"])
async def test_events_older_than_the_replay_buffer(settings: Settings, place: str) -> None:
    """Events older than the replay buffer are read from the log, or from SQL if the log was trimmed."""
    small = msgspec.structs.replace(settings, port=0, memory_bytes=64_000, log_window_s=0, log_window_bytes=0)
    if place == "log":
        small = msgspec.structs.replace(small, roles=("gateway",))
    async with run_server(small) as server, open_event_server(server) as site:
        await site.node.append("user:ann", times=10)
        await site.node.wait_until_relayed(await site.node.append("user:bob", times=2_000))
        memory = site.gateway.relay.tails[DEFAULT_ZONE].buffer
        assert memory.first_seq is not None and memory.first_seq > 100
        if place == "sql":
            redis = server.engine.store.redis

            async def is_trimmed() -> bool:
                return bool(await redis.xlen(keys.log(DEFAULT_ZONE)) < 1_000)

            await wait_until(is_trimmed, within_s=20, what="the trimmed log")
        reply = await site.poll("ann", after=f"main:{epoch_name(1)}:4", wait=30)
        assert (seqs_of(reply), reply["recovered"]) == ([5, 6, 7, 8, 9, 10], True)
        async with site.open_stream("ann", last=f"main:{epoch_name(1)}:7") as source:
            assert await source.next_seqs(3) == [8, 9, 10]


async def test_polling_under_load_gets_each_event_once(site: EventServer) -> None:
    """A client that polls again and again while events are appended receives each of its events once and in order."""
    total = 600

    async def append_events() -> None:
        for _ in range(total // 6):
            await site.node.append("user:ann", times=6)
            await site.node.append("user:bob", times=2)

    writing = asyncio.create_task(append_events())
    seqs: list[int] = []
    cursor = f"main:{epoch_name(1)}:0"
    while len(seqs) < total:
        reply = await site.poll("ann", after=cursor, wait=5)
        assert reply["recovered"]
        seqs += seqs_of(reply)
        cursor = reply["cursor"]
    await writing
    assert seqs == [seq for start in range(1, total // 6 * 8, 8) for seq in range(start, start + 6)]


async def test_a_stream_that_lost_a_channel_ends_with_the_access(site: EventServer) -> None:
    """A stream that is taken from a channel, as when a technician's services change, still ends with a suspension."""
    async with site.open_stream("tom", "technician") as source:
        [stream] = site.gateway.streams.streams_of("tom")
        await site.node.append("user:tom", kind="session.room", data='{"room":"room_1","is_member":false}')
        await site.node.append("user:tom")
        await source.next_event()
        assert site.gateway.streams.streams_of("tom") == [stream]
        await live_accounts.suspend(site.running.engine, "tom", "technician")
        assert (await source.close_data())["code"] == 4502
