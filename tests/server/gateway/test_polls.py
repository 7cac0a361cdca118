"""Long polls: what was missed at once, else what comes, else the head after the time that was asked for."""

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
from server.schemas.events import Heard
from server.serve import Running, running
from tests.server.gateway.streams import Site, site_of
from tests.support import live_accounts
from tests.support.epochs import epoch_name
from tests.support.wait import wait_until


@pytest.fixture
async def site(server: Running) -> AsyncIterator[Site]:
    """A whole server."""
    async with site_of(server) as opened:
        yield opened


def seqs(told: dict[str, list[dict[str, int]]]) -> list[int]:
    """Of the events in an answer."""
    return [event["seq"] for event in told["events"]]


async def waiting(site: Site, count: int = 1) -> None:
    """Until so many polls wait."""
    await wait_until(lambda: site.gateway.streams.count == count)


async def test_without_a_cursor(site: Site) -> None:
    """Without a cursor there is nothing to wait for: at once the place to begin, not recovered."""
    await site.node.relayed(await site.node.append("user:ann", times=3))
    assert await site.poll("ann", wait=30) == {"events": [], "cursor": f"main:{epoch_name(1)}:3", "recovered": False}
    assert await site.poll("ann", after="", wait=30) == {
        "events": [],
        "cursor": f"main:{epoch_name(1)}:3",
        "recovered": False,
    }


async def test_the_reasons_why_not(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on the socket, at once however long one would wait: nothing is replayed, and the cursor is the head."""
    monkeypatch.setattr(resume, "WAIT_S", 0.1)
    await site.node.relayed(await site.node.append("user:ann", times=1_001))
    for after, reason in (
        (f"main:{epoch_name(9)}:1", "epoch"),
        (f"main:{epoch_name(1)}:5000", "epoch"),
        (f"main:{epoch_name(1)}:0", "too_old"),
    ):
        told = await site.poll("ann", after=after, wait=30)
        assert told == {"events": [], "cursor": f"main:{epoch_name(1)}:1001", "recovered": False, "reason": reason}
    assert len(seqs(await site.poll("ann", after=f"main:{epoch_name(1)}:1", wait=30))) == 1_000


async def test_what_was_missed_comes_at_once(site: Site) -> None:
    """What came since the cursor, one's own alone, whole, in order, with the cursor to go on with."""
    await site.node.append("user:ann", times=2)
    await site.node.append("user:bob", times=2)
    await site.node.relayed(await site.node.append("user:ann role:customer"))
    answer = await site.get("ann", after=f"main:{epoch_name(1)}:1", wait=30)
    told = msgspec.json.decode(answer.content, type=Heard)
    assert [event.seq for event in told.events] == [2, 5]
    assert (told.cursor, told.recovered) == (f"main:{epoch_name(1)}:5", True)


async def test_it_waits_for_the_first(site: Site) -> None:
    """Where nothing was missed it waits for the first event of one's own, and is not woken by others'."""
    asked = asyncio.create_task(site.poll("ann", after=f"main:{epoch_name(1)}:0", wait=30))
    await waiting(site)
    await site.node.relayed(await site.node.append("user:bob", times=3))
    assert not asked.done()
    await site.node.append("user:ann", times=2)
    told = await asked
    assert seqs(told)[0] == 4 and told["recovered"]
    rest = await site.poll("ann", after=told["cursor"], wait=0)
    assert seqs(told) + seqs(rest) == [4, 5]
    assert not site.gateway.sessions


async def test_its_time_runs_out(site: Site) -> None:
    """After its time it answers with no event and the head, so that a quiet one's cursor moves."""
    began = time.monotonic()
    asked = asyncio.create_task(site.poll("ann", after=f"main:{epoch_name(1)}:0", wait=0.5))
    await waiting(site)
    await site.node.append("user:bob", times=3)
    assert await asked == {"events": [], "cursor": f"main:{epoch_name(1)}:3", "recovered": True}
    assert 0.4 < time.monotonic() - began < 5
    told = await site.poll("ann", after=f"main:{epoch_name(1)}:3")
    assert told == {"events": [], "cursor": f"main:{epoch_name(1)}:3", "recovered": True}


async def test_a_cursor_ahead_of_the_relay_is_waited_for(site: Site) -> None:
    """A cursor from another gateway, a little ahead, is waited for, not refused."""
    asked = asyncio.create_task(site.poll("ann", after=f"main:{epoch_name(1)}:2", wait=30))
    await site.node.append("user:ann", times=3)
    assert seqs(await asked) == [3]


async def test_types_and_channels(site: Site) -> None:
    """Types that were not asked for neither wake nor come, but the cursor passes them by."""
    query = {"types": "job.*", "channels": "user:ann,user:bob"}
    asked = asyncio.create_task(site.poll("boss", "admin", after=f"main:{epoch_name(1)}:0", wait=30, **query))
    await waiting(site)
    await site.node.append("user:ann", kind="offer.created")
    await site.node.append("role:ops", kind="job.status")
    await site.node.append("user:bob", kind="job.status")
    assert seqs(await asked) == [3]
    await site.node.relayed(await site.node.append("user:bob", kind="offer.closed"))
    told = await site.poll("boss", "admin", after=f"main:{epoch_name(1)}:3", wait=0, **query)
    assert (seqs(told), told["cursor"]) == ([], f"main:{epoch_name(1)}:4")


async def test_who_goes_is_forgotten(site: Site) -> None:
    """A poll whose client went away is no longer waited for."""
    headers = await site.bearer("ann")
    with pytest.raises(httpx.ReadTimeout):
        await site.http.get(
            "/v1/events", params={"after": f"main:{epoch_name(1)}:0", "wait": 60}, headers=headers, timeout=0.3
        )
    await wait_until(lambda: not site.gateway.sessions)


async def test_losing_access_while_it_waits(site: Site) -> None:
    """Who is suspended while he waits is refused then, and given nothing."""
    headers = await site.bearer("ann")
    query = {"after": f"main:{epoch_name(1)}:0", "wait": "30"}
    asked = asyncio.create_task(site.http.get("/v1/events", params=query, headers=headers))
    await waiting(site)
    await live_accounts.suspend(site.running.engine, "ann", "customer")
    assert (await asked).status_code == 403


async def test_drain_while_it_waits(site: Site) -> None:
    """At drain a waiting poll is told to ask another node, with the same cursor."""
    asked = asyncio.create_task(site.get("ann", after=f"main:{epoch_name(1)}:0", wait=30))
    await waiting(site)
    await site.gateway.stop()
    answer = await asked
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


@pytest.mark.parametrize("place", ["log", "sql"])
async def test_back_beyond_memory(settings: Settings, place: str) -> None:
    """A cursor older than memory is served from the log, and where that was trimmed, from SQL."""
    small = msgspec.structs.replace(settings, port=0, memory_bytes=64_000, log_window_s=0, log_window_bytes=0)
    if place == "log":
        small = msgspec.structs.replace(small, roles=("gateway",))
    async with running(small) as server, site_of(server) as site:
        await site.node.append("user:ann", times=10)
        await site.node.relayed(await site.node.append("user:bob", times=2_000))
        memory = site.gateway.relay.tails[DEFAULT_ZONE].buffer
        assert memory.first is not None and memory.first > 100
        if place == "sql":
            redis = server.engine.store.redis

            async def trimmed() -> bool:
                return bool(await redis.xlen(keys.log(DEFAULT_ZONE)) < 1_000)

            await wait_until(trimmed, within_s=20, what="the trimmed log")
        told = await site.poll("ann", after=f"main:{epoch_name(1)}:4", wait=30)
        assert (seqs(told), told["recovered"]) == ([5, 6, 7, 8, 9, 10], True)
        async with site.source("ann", last=f"main:{epoch_name(1)}:7") as source:
            assert await source.seqs(3) == [8, 9, 10]


async def test_polling_under_load_gets_each_event_once(site: Site) -> None:
    """One who polls and polls while the log is busy gets each event of his once, in order."""
    total = 600

    async def load() -> None:
        for _ in range(total // 6):
            await site.node.append("user:ann", times=6)
            await site.node.append("user:bob", times=2)

    writing = asyncio.create_task(load())
    got: list[int] = []
    cursor = f"main:{epoch_name(1)}:0"
    while len(got) < total:
        told = await site.poll("ann", after=cursor, wait=5)
        assert told["recovered"]
        got += seqs(told)
        cursor = told["cursor"]
    await writing
    assert got == [seq for start in range(1, total // 6 * 8, 8) for seq in range(start, start + 6)]
