"""Server-sent events: the same frames as on a socket, from a cursor, once and in order; and how a stream ends."""

from __future__ import annotations

import asyncio
import json
import random
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import msgspec
import pytest

from engine.process.settings import Settings
from server.gateway import event_stream, resume
from server.schemas import frames
from server.serve import RunningServer, run_server
from tests.server.gateway.streams import EventServer, open_event_server
from tests.support import live_accounts
from tests.support.epochs import epoch_name
from tests.support.wait import wait_until

BIG_DATA = '{"text":"' + "x" * 4_000 + '"}'


@pytest.fixture
async def site(server: RunningServer) -> AsyncIterator[EventServer]:
    """Run a whole server."""
    async with open_event_server(server) as opened:
        yield opened


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"after": "main"}, "/after"),
        ({"after": "main:e1"}, "/after"),
        ({"after": "main:e1:-1"}, "/after"),
        ({"after": "main:e1:9007199254740993"}, "/after"),
        ({"after": "main:e1:1,main:e1:2"}, "/after"),
        ({"after": "main:e 1:1"}, "/after"),
        ({"after": "Main:e1:1"}, "/after"),
        ({"after": "main:e1:1,"}, "/after"),
        ({"wait": "61"}, "/wait"),
        ({"wait": "-1"}, "/wait"),
        ({"wait": "soon"}, "/wait"),
        ({"types": "job.*,,"}, "/types"),
        ({"channels": " "}, "/channels"),
        ({"colour": "red"}, "/colour"),
    ],
)
async def test_a_malformed_query_is_refused(site: EventServer, query: dict[str, str], pointer: str) -> None:
    """A malformed cursor, time or list is refused with 422 and a pointer to its parameter."""
    answer = await site.request_events("boss", "admin", **query)
    assert answer.status_code == 422, answer.text
    assert {wrong["pointer"] for wrong in answer.json()["errors"]} == {pointer}


async def test_a_malformed_last_event_id_is_refused(site: EventServer) -> None:
    """A malformed Last-Event-ID is refused with 422 and the pointer `/Last-Event-ID`."""
    headers = await site.bearer_header("ann") | {"Last-Event-ID": "17"}
    answer = await site.http.get("/v1/events", headers=headers)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["pointer"] == "/Last-Event-ID"


@pytest.mark.parametrize(
    ("role", "query", "status"),
    [
        ("customer", {"channels": "user:ann"}, 403),
        ("technician", {"channels": "zone:main"}, 403),
        ("customer", {"types": "job.status"}, 403),
        ("onboarding_manager", {"channels": "role:ops"}, 403),
        ("mediator", {"types": "job.*"}, 403),
        ("service", {"channels": "zone:main"}, 403),
        ("service", {"channels": "user:bob"}, 422),
        ("service", {"channels": "role:ops"}, 422),
        ("service", {"channels": "job:job_main_01jb4zqk3m8r5t7v9x2c6d8f0g"}, 404),
        ("service", {"channels": "role:service,zone:main"}, 403),
        ("admin", {"channels": "zone:mars"}, 404),
        ("admin", {"channels": "everything"}, 422),
        ("admin", {"channels": "user:a b"}, 422),
    ],
)
async def test_channels_and_types_that_a_caller_may_not_name(
    site: EventServer, role: Any, query: dict[str, str], status: int
) -> None:
    """Only ops and services may name channels and types, and only channels that they may read."""
    for wait in ({}, {"after": f"main:{epoch_name(1)}:0", "wait": "0"}):
        answer = await site.request_events("ann", role, **query, **wait)
        assert answer.status_code == status, answer.text


async def test_requests_without_credentials_are_refused(site: EventServer) -> None:
    """A request without a token, with a ticket for sockets or with an unknown ticket gets 401. A valid ticket does not
    help if the token is invalid.
    """
    headers = await site.bearer_header("ann")
    ticket = (await site.http.post("/v1/auth/tickets", json={}, headers=headers)).json()["ticket"]
    for query in ({}, {"ticket": "nonsense"}, {"ticket": ticket}):
        assert (await site.http.get("/v1/events", params=query)).status_code == 401
    good = (await site.http.post("/v1/auth/tickets", json={"for": "events"}, headers=headers)).json()["ticket"]
    answer = await site.http.get("/v1/events", params={"ticket": good}, headers={"Authorization": "Bearer x"})
    assert answer.status_code == 401
    assert (await site.http.get("/v1/me", params={"ticket": good})).status_code == 401


async def test_a_full_node_refuses(settings: Settings) -> None:
    """Streams count towards the limit of sockets. Above the limit a stream gets 503 with Retry-After."""
    async with (
        run_server(msgspec.structs.replace(settings, port=0, max_sockets=1)) as server,
        open_event_server(server) as site,
    ):
        async with site.open_stream("ann"):
            answer = await site.request_events("bob")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        await wait_until(lambda: not site.gateway.sessions)
        async with site.open_stream("bob"):
            pass


async def test_the_same_frames_as_on_the_socket(site: EventServer) -> None:
    """A stream starts with the `connect` reply of a socket. Each event is the same frame, with its cursor as id."""
    seq = await site.node.append("user:bob", times=3)
    await site.node.wait_until_relayed(seq)
    async with site.open_stream("ann") as source, site.node.connect("ann") as client:
        hello = source.hello  # type: ignore[attr-defined]
        opened = msgspec.json.decode(json.dumps(hello.data), type=frames.StreamStart)
        assert hello.id == f"main:{epoch_name(1)}:3"
        assert (opened.user.id, opened.recovered, opened.reason) == ("ann", False, None)
        assert opened.zones["main"].seq == 3
        assert (opened.poll.connected, opened.poll.disconnected) == (60, 15)
        await site.node.append("user:ann role:customer", times=2)
        for seq in (4, 5):
            block = await source.next_event()
            assert (block.id, block.event) == (f"main:{epoch_name(1)}:{seq}", "")
            assert block.data == await client.next_push()


async def test_head_has_no_body(site: EventServer) -> None:
    """A HEAD request gets the headers only, and opens no stream."""
    answer = await site.http.head("/v1/events", headers=await site.bearer_header("ann"))
    assert (answer.status_code, answer.content) == (200, b"")
    await wait_until(lambda: not site.gateway.sessions)


async def test_last_event_id_replays_missed_events(site: EventServer) -> None:
    """With Last-Event-ID, which has priority over `after`, the user's missed events are sent first."""
    await site.node.append("user:ann", times=2)
    await site.node.append("user:bob", times=3)
    await site.node.wait_until_relayed(await site.node.append("user:ann", times=2))
    async with site.open_stream("ann", last=f"main:{epoch_name(1)}:1", after=f"main:{epoch_name(1)}:7") as source:
        hello = source.hello  # type: ignore[attr-defined]
        assert hello.id == f"main:{epoch_name(1)}:1"
        assert (hello.data["recovered"], hello.data["zones"]["main"]["missed"]) == (True, 3)
        blocks = [await source.next_event() for _ in range(3)]
        assert [block.id for block in blocks] == [
            f"main:{epoch_name(1)}:2",
            f"main:{epoch_name(1)}:6",
            f"main:{epoch_name(1)}:7",
        ]
        await site.node.append("user:bob")
        await site.node.append("user:ann")
        assert (await source.next_event()).id == f"main:{epoch_name(1)}:9"


async def test_after_is_the_first_cursor(site: EventServer) -> None:
    """A page passes its stored cursor as `after`, because an EventSource cannot send a header with its first
    request.
    """
    await site.node.wait_until_relayed(await site.node.append("user:ann", times=3))
    async with site.open_stream("ann", after=f"main:{epoch_name(1)}:2") as source:
        assert await source.next_seqs(1) == [3]


async def test_a_stream_names_why_it_cannot_resume(site: EventServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """`recovered` is false without a cursor, for an unknown epoch, for a cursor beyond the head, and for too many
    missed events. The reason is named.
    """
    monkeypatch.setattr(resume, "MAX_WAIT_S", 0.1)
    await site.node.wait_until_relayed(await site.node.append("user:ann", times=1_001))
    for after, reason in (
        ("", None),
        (f"mars:{epoch_name(1)}:1", None),
        (f"main:{epoch_name(9)}:1", "epoch"),
        (f"main:{epoch_name(1)}:2000", "epoch"),
    ):
        async with site.open_stream("ann", last=after) as source:
            hello = source.hello.data  # type: ignore[attr-defined]
            assert (hello["recovered"], hello.get("reason")) == (False, reason), after
            assert source.last == f"main:{epoch_name(1)}:1001"
    async with site.open_stream("ann", last=f"main:{epoch_name(1)}:0") as source:
        hello = source.hello.data  # type: ignore[attr-defined]
        assert (hello["recovered"], hello["reason"]) == (False, "too_old")
        await site.node.append("user:ann")
        assert await source.next_seqs(1) == [1_002]


async def test_a_quiet_cursor_moves(settings: Settings) -> None:
    """A stream without events gets the head as an id without data, so that its cursor moves."""
    often = msgspec.structs.replace(settings, port=0, ping_s=0.5)
    async with run_server(often) as server, open_event_server(server) as site:
        async with site.open_stream("ann") as source:
            await site.node.append("user:bob", times=50)
            while source.last != f"main:{epoch_name(1)}:50":
                block = await source.next_block()
                assert block is not None and block.data is None
        assert not site.gateway.counters.closes_by_code[4002], "a stream cannot pong"


async def test_only_named_types_are_sent(site: EventServer) -> None:
    """Only events of the named types and families (`job.*`) are sent. Other events only move the cursor."""
    for kind in ("job.status", "offer.created", "job.expired", "note.x"):
        await site.node.append("role:ops", kind=kind)
    await site.node.wait_until_relayed(4)
    async with site.open_stream("boss", "admin", last=f"main:{epoch_name(1)}:0", types="job.*,note.x") as source:
        assert await source.next_seqs(3) == [1, 3, 4]
        for kind in ("offer.created", "note.y", "job.status"):
            await site.node.append("role:ops", kind=kind)
        block = await source.next_event()
        assert (block.data["seq"], block.id) == (7, f"main:{epoch_name(1)}:7")


async def test_only_named_channels_are_sent(site: EventServer) -> None:
    """Ops and services who name channels receive those channels' events instead of their own."""
    async with (
        site.open_stream("boss", "admin", channels="user:ann,role:technician") as named_channels,
        site.open_stream("chief", "ops_manager", channels="zone:main") as zone_channel,
        site.open_stream("bot", "service", channels="role:service") as bot,
    ):
        for to in ("role:ops", "user:ann", "user:bob", "role:technician role:ops", "role:service", "user:ann"):
            await site.node.append(to)
        assert await named_channels.next_seqs(3) == [2, 4, 6]
        assert await zone_channel.next_seqs(6) == [1, 2, 3, 4, 5, 6]
        assert await bot.next_seqs(1) == [5]


async def test_a_ticket(site: EventServer) -> None:
    """A ticket for events replaces the token and can be used many times."""
    headers = await site.bearer_header("ann")
    ticket = (await site.http.post("/v1/auth/tickets", json={"for": "events"}, headers=headers)).json()["ticket"]
    for _ in range(2):
        async with site.open_stream("ann", headers={}, ticket=ticket) as source:
            assert source.hello.data["user"]["id"] == "ann"  # type: ignore[attr-defined]


@pytest.mark.parametrize("query", [{}, {"channels": "zone:main"}, {"channels": "user:ann"}])
async def test_a_suspended_user_loses_the_stream(site: EventServer, query: dict[str, str]) -> None:
    """A suspension ends the user's streams with 4502, for all sets of channels. Other streams continue."""
    headers = await site.bearer_header("boss", "admin")
    async with (
        site.open_stream("boss", "admin", headers=headers, **query) as source,
        site.open_stream("chief", "admin", channels="user:boss,user:ann") as other,
    ):
        await live_accounts.suspend(site.running.engine, "boss", "admin")
        assert (await source.close_data())["code"] == 4502
        answer = await site.http.get("/v1/events", headers=headers)
        assert answer.status_code == 403
        await site.node.append("user:ann")
        await other.next_event()


async def test_the_token_ends(settings: Settings) -> None:
    """A stream ends with 4003 when its token ends."""
    async with (
        run_server(msgspec.structs.replace(settings, port=0, ping_s=2.5)) as server,
        open_event_server(server) as site,
    ):
        short = await site.bearer_header("ann", expires_s=1.5)
        async with site.open_stream("ann", headers=short) as source:
            assert (await source.close_data())["code"] == 4003


async def test_a_drain_ends_streams(site: EventServer) -> None:
    """A drain ends each stream with 4000 and its own random `retry`, and new requests get 503."""
    async with site.open_stream("ann") as one, site.open_stream("bob") as two:
        await site.node.append("user:ann user:bob")
        assert (await one.next_seqs(1), await two.next_seqs(1)) == ([1], [1])
        site.running.health.draining = True
        stopping = asyncio.create_task(site.gateway.stop())
        for source in (one, two):
            block = await source.next_event()
            assert (block.event, block.data["code"]) == ("close", 4000)
            assert 1_000 <= int(block.retry) <= 5_000
            assert await source.next_block() is None
        await stopping
    answer = await site.request_events("ann", wait=1)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_a_closed_stream_leaves_nothing(site: EventServer) -> None:
    """A stream that its client closes leaves no session and no channel."""
    async with site.open_stream("ann"):
        assert site.gateway.streams.count == 1
    await wait_until(lambda: not site.gateway.sessions)
    assert site.gateway.streams.count == 0
    assert site.gateway.streams.channels == {}


async def test_the_sixth_ends_the_first(settings: Settings) -> None:
    """A user may have five streams. The sixth ends the oldest with 4010."""
    limited = msgspec.structs.replace(settings, port=0, limits="on")
    async with run_server(limited) as server, open_event_server(server) as site, AsyncExitStack() as stack:
        sources = [await stack.enter_async_context(site.open_stream("ann")) for _ in range(5)]
        other = await stack.enter_async_context(site.open_stream("bob"))
        sources.append(await stack.enter_async_context(site.open_stream("ann")))
        assert (await sources[0].close_data())["code"] == 4010
        last = await site.node.append("user:ann user:bob")
        for source in (*sources[1:], other):
            assert await source.next_seqs(1) == [last]


async def test_a_stream_that_is_not_read_is_cut(site: EventServer) -> None:
    """A stream whose client does not read uses a bounded amount of memory and is cut as too slow (4001). Another stream
    receives everything.
    """
    headers = await site.bearer_header("ann")
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    with sock:
        await loop.sock_connect(sock, ("127.0.0.1", site.node.port))
        lines = ["GET /v1/events HTTP/1.1", "Host: x", f"Authorization: {headers['Authorization']}", "", ""]
        await loop.sock_sendall(sock, "\r\n".join(lines).encode())
        await wait_until(lambda: site.gateway.streams.count == 1)
        (slow,) = site.gateway.streams.streams_of("ann")
        async with site.open_stream("ann") as quick:
            reading = asyncio.create_task(quick.next_seqs(900))
            peak_bytes = 0
            for _ in range(90):
                await site.node.append("user:ann", times=10, data=BIG_DATA)
                peak_bytes = max(peak_bytes, slow._backlog_bytes + sum(map(len, slow.response._pieces)))
            assert await reading == list(range(1, 901))
            await wait_until(lambda: site.gateway.counters.closes_by_code[4001] == 1)
        assert peak_bytes < 1024 * 1024 + 200_000

        async def is_reset() -> bool:
            try:
                while await asyncio.wait_for(loop.sock_recv(sock, 65536), 1):
                    pass
            except ConnectionError:
                return True
            except TimeoutError:
                return False
            return True

        await wait_until(is_reset)


async def test_a_stream_cut_many_times_under_load(settings: Settings) -> None:
    """A client that is cut many times while two zones are busy, and returns with its last id, receives each event once
    and in order.
    """
    wanted = msgspec.structs.replace(settings, port=0, zones=("main", "north"))
    async with run_server(wanted) as server, open_event_server(server) as site:
        chance = random.Random(7)
        sent: dict[str, list[int]] = {"main": [], "north": []}

        async def append_events() -> None:
            for _ in range(150):
                for zone, seqs in sent.items():
                    # Ann's events are the last, so that the test can end as soon as ann has them all.
                    await site.node.append("user:bob", times=chance.randint(0, 5) or 1, zone=zone)
                    last = await site.node.append("user:ann", times=4, zone=zone)
                    seqs.extend(range(last - 3, last + 1))

        received: dict[str, list[int]] = {"main": [], "north": []}
        async with site.open_stream("ann") as source:
            cursor = source.last
        writing = asyncio.create_task(append_events())
        cuts = 0
        while not writing.done() or received != sent:
            async with site.open_stream("ann", last=cursor) as source:
                assert source.hello.data["recovered"], source.hello  # type: ignore[attr-defined]
                for _ in range(chance.randint(1, 60)):
                    if writing.done() and received == sent:
                        break
                    block = await source.next_block()
                    assert block is not None
                    if block.data is not None:
                        received[block.data["zone"]].append(block.data["seq"])
                cursor = source.last
            cuts += 1
        await writing
        assert received == sent
        assert cuts > 10
        assert site.gateway.counters.closes_by_code[event_stream.ABNORMAL_CLOSURE_CODE] >= cuts


async def test_a_reader_of_half_a_block_loses_nothing(site: EventServer) -> None:
    """A client that is cut within a block returns with the id before it, and gets the whole block again."""
    await site.node.wait_until_relayed(await site.node.append("user:ann", times=5))
    headers = await site.bearer_header("ann") | {
        "Accept": "text/event-stream",
        "Last-Event-ID": f"main:{epoch_name(1)}:0",
    }
    async with site.http.stream("GET", "/v1/events", headers=headers) as answer:
        text = ""
        async for part in answer.aiter_text():
            text += part
            if '"seq":3' in text:
                break
    events = text[: text.index('"seq":3')].rpartition("\n\n")[0]
    last = events.rpartition("id: ")[2].partition("\n")[0]
    assert last == f"main:{epoch_name(1)}:2"
    async with site.open_stream("ann", last=last) as source:
        assert await source.next_seqs(3) == [3, 4, 5]
