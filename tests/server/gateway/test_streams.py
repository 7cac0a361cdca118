"""Server-sent events: the same frames as the socket's, from a cursor, in order, once; and how they end."""

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
from server.gateway import resume, stream_connection
from server.schemas import frames
from server.serve import Running, running
from tests.server.gateway.streams import Site, site_of
from tests.support import live_accounts
from tests.support.epochs import epoch_name
from tests.support.wait import wait_until

BIG = '{"text":"' + "x" * 4_000 + '"}'


@pytest.fixture
async def site(server: Running) -> AsyncIterator[Site]:
    """A whole server."""
    async with site_of(server) as opened:
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
async def test_what_means_nothing_is_refused(site: Site, query: dict[str, str], pointer: str) -> None:
    """A cursor, time or list that is none is told by its name, before anything is sent."""
    answer = await site.get("boss", "admin", **query)
    assert answer.status_code == 422, answer.text
    assert {wrong["pointer"] for wrong in answer.json()["errors"]} == {pointer}


async def test_a_last_event_id_that_is_none(site: Site) -> None:
    """So is the header."""
    headers = await site.bearer("ann") | {"Last-Event-ID": "17"}
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
async def test_channels_that_one_may_not_name(site: Site, role: Any, query: dict[str, str], status: int) -> None:
    """Only ops and services name channels and types, and only such as they may hear."""
    for wait in ({}, {"after": f"main:{epoch_name(1)}:0", "wait": "0"}):
        answer = await site.get("ann", role, **query, **wait)
        assert answer.status_code == status, answer.text


async def test_without_credentials_nothing(site: Site) -> None:
    """No token, a ticket for sockets, an unknown one: 401. A token that is no good is not helped by a ticket."""
    headers = await site.bearer("ann")
    ticket = (await site.http.post("/v1/auth/tickets", json={}, headers=headers)).json()["ticket"]
    for query in ({}, {"ticket": "nonsense"}, {"ticket": ticket}):
        assert (await site.http.get("/v1/events", params=query)).status_code == 401
    good = (await site.http.post("/v1/auth/tickets", json={"for": "events"}, headers=headers)).json()["ticket"]
    answer = await site.http.get("/v1/events", params={"ticket": good}, headers={"Authorization": "Bearer x"})
    assert answer.status_code == 401
    assert (await site.http.get("/v1/me", params={"ticket": good})).status_code == 401


async def test_a_full_node_refuses(settings: Settings) -> None:
    """Streams count as sockets do: over the node's limit 503 and when to come back."""
    async with running(msgspec.structs.replace(settings, port=0, max_sockets=1)) as server, site_of(server) as site:
        async with site.source("ann"):
            answer = await site.get("bob")
            assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
        await wait_until(lambda: not site.gateway.sessions)
        async with site.source("bob"):
            pass


async def test_the_same_frames_as_on_the_socket(site: Site) -> None:
    """The opening says what the socket's reply says, and each event is the very frame, under its cursor."""
    seq = await site.node.append("user:bob", times=3)
    await site.node.relayed(seq)
    async with site.source("ann") as source, site.node.client("ann") as client:
        hello = source.hello  # type: ignore[attr-defined]
        opened = msgspec.json.decode(json.dumps(hello.data), type=frames.Opened)
        assert hello.id == f"main:{epoch_name(1)}:3"
        assert (opened.user.id, opened.recovered, opened.reason) == ("ann", False, None)
        assert opened.zones["main"].seq == 3
        assert (opened.poll.connected, opened.poll.disconnected) == (60, 15)
        await site.node.append("user:ann role:customer", times=2)
        for seq in (4, 5):
            block = await source.event()
            assert (block.id, block.event) == (f"main:{epoch_name(1)}:{seq}", "")
            assert block.data == await client.push()


async def test_head_has_no_body(site: Site) -> None:
    """HEAD is answered with the headers alone, and leaves nobody behind."""
    answer = await site.http.head("/v1/events", headers=await site.bearer("ann"))
    assert (answer.status_code, answer.content) == (200, b"")
    await wait_until(lambda: not site.gateway.sessions)


async def test_coming_back(site: Site) -> None:
    """With Last-Event-ID the missed ones come first, each under its own cursor, others' never."""
    await site.node.append("user:ann", times=2)
    await site.node.append("user:bob", times=3)
    await site.node.relayed(await site.node.append("user:ann", times=2))
    async with site.source("ann", last=f"main:{epoch_name(1)}:1", after=f"main:{epoch_name(1)}:7") as source:
        hello = source.hello  # type: ignore[attr-defined]
        assert hello.id == f"main:{epoch_name(1)}:1"
        assert (hello.data["recovered"], hello.data["zones"]["main"]["missed"]) == (True, 3)
        blocks = [await source.event() for _ in range(3)]
        assert [block.id for block in blocks] == [
            f"main:{epoch_name(1)}:2",
            f"main:{epoch_name(1)}:6",
            f"main:{epoch_name(1)}:7",
        ]
        await site.node.append("user:bob")
        await site.node.append("user:ann")
        assert (await source.event()).id == f"main:{epoch_name(1)}:9"


async def test_after_is_the_first_cursor(site: Site) -> None:
    """A page that remembers a cursor gives it in the address: an EventSource can send no header at first."""
    await site.node.relayed(await site.node.append("user:ann", times=3))
    async with site.source("ann", after=f"main:{epoch_name(1)}:2") as source:
        assert await source.seqs(1) == [3]


async def test_the_reasons_why_not(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """recovered is false without a cursor, for an epoch that is none, beyond the head, and for too much to replay."""
    monkeypatch.setattr(resume, "WAIT_S", 0.1)
    await site.node.relayed(await site.node.append("user:ann", times=1_001))
    for after, reason in (
        ("", None),
        (f"mars:{epoch_name(1)}:1", None),
        (f"main:{epoch_name(9)}:1", "epoch"),
        (f"main:{epoch_name(1)}:2000", "epoch"),
    ):
        async with site.source("ann", last=after) as source:
            hello = source.hello.data  # type: ignore[attr-defined]
            assert (hello["recovered"], hello.get("reason")) == (False, reason), after
            assert source.last == f"main:{epoch_name(1)}:1001"
    async with site.source("ann", last=f"main:{epoch_name(1)}:0") as source:
        hello = source.hello.data  # type: ignore[attr-defined]
        assert (hello["recovered"], hello["reason"]) == (False, "too_old")
        await site.node.append("user:ann")
        assert await source.seqs(1) == [1_002]


async def test_a_quiet_cursor_moves(settings: Settings) -> None:
    """Who hears nothing is given the head as an id without an event: he comes back as cheaply as anyone."""
    often = msgspec.structs.replace(settings, port=0, ping_s=0.5)
    async with running(often) as server, site_of(server) as site:
        async with site.source("ann") as source:
            await site.node.append("user:bob", times=50)
            while source.last != f"main:{epoch_name(1)}:50":
                block = await source.block()
                assert block is not None and block.data is None
        assert not site.gateway.counters.closes[4002], "a stream cannot pong"


async def test_types(site: Site) -> None:
    """Named types come, by name or by family, at replay and live alike; the cursor passes the others by."""
    for kind in ("job.status", "offer.created", "job.expired", "note.x"):
        await site.node.append("role:ops", kind=kind)
    await site.node.relayed(4)
    async with site.source("boss", "admin", last=f"main:{epoch_name(1)}:0", types="job.*,note.x") as source:
        assert await source.seqs(3) == [1, 3, 4]
        for kind in ("offer.created", "note.y", "job.status"):
            await site.node.append("role:ops", kind=kind)
        block = await source.event()
        assert (block.data["seq"], block.id) == (7, f"main:{epoch_name(1)}:7")


async def test_channels(site: Site) -> None:
    """Ops hear what they name instead of their own: a zone, a user, a role."""
    async with (
        site.source("boss", "admin", channels="user:ann,role:technician") as some,
        site.source("chief", "ops_manager", channels="zone:main") as whole,
        site.source("bot", "service", channels="role:service") as bot,
    ):
        for to in ("role:ops", "user:ann", "user:bob", "role:technician role:ops", "role:service", "user:ann"):
            await site.node.append(to)
        assert await some.seqs(3) == [2, 4, 6]
        assert await whole.seqs(6) == [1, 2, 3, 4, 5, 6]
        assert await bot.seqs(1) == [5]


async def test_a_ticket(site: Site) -> None:
    """A ticket for events stands for the token, any number of times."""
    headers = await site.bearer("ann")
    ticket = (await site.http.post("/v1/auth/tickets", json={"for": "events"}, headers=headers)).json()["ticket"]
    for _ in range(2):
        async with site.source("ann", headers={}, ticket=ticket) as source:
            assert source.hello.data["user"]["id"] == "ann"  # type: ignore[attr-defined]


@pytest.mark.parametrize("query", [{}, {"channels": "zone:main"}, {"channels": "user:ann"}])
async def test_revoked(site: Site, query: dict[str, str]) -> None:
    """Who loses access hears so and no more, also one who named channels that are not his own; nobody else ends."""
    headers = await site.bearer("boss", "admin")
    async with (
        site.source("boss", "admin", headers=headers, **query) as source,
        site.source("chief", "admin", channels="user:boss,user:ann") as other,
    ):
        await live_accounts.suspend(site.running.engine, "boss", "admin")
        assert (await source.ended())["code"] == 4502
        answer = await site.http.get("/v1/events", headers=headers)
        assert answer.status_code == 403
        await site.node.append("user:ann")
        await other.event()


async def test_the_token_ends(settings: Settings) -> None:
    """With its token the stream ends, 4003 and when to come back."""
    async with running(msgspec.structs.replace(settings, port=0, ping_s=2.5)) as server, site_of(server) as site:
        short = await site.bearer("ann", expires_s=1.5)
        async with site.source("ann", headers=short) as source:
            assert (await source.ended())["code"] == 4003


async def test_drain(site: Site) -> None:
    """At drain each stream is told to come back, at a time of its own, and nobody new is taken."""
    async with site.source("ann") as one, site.source("bob") as two:
        await site.node.append("user:ann user:bob")
        assert (await one.seqs(1), await two.seqs(1)) == ([1], [1])
        site.running.health.draining = True
        stopping = asyncio.create_task(site.gateway.stop())
        for source in (one, two):
            block = await source.event()
            assert (block.event, block.data["code"]) == ("close", 4000)
            assert 1_000 <= int(block.retry) <= 5_000
            assert await source.block() is None
        await stopping
    answer = await site.get("ann", wait=1)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")


async def test_who_goes_is_forgotten(site: Site) -> None:
    """A client that goes leaves nothing behind."""
    async with site.source("ann"):
        assert site.gateway.streams.count == 1
    await wait_until(lambda: not site.gateway.sessions)
    assert site.gateway.streams.count == 0
    assert site.gateway.streams.channels == {}


async def test_the_sixth_ends_the_first(settings: Settings) -> None:
    """Five streams a user: the oldest goes, 4010, and the others stay."""
    limited = msgspec.structs.replace(settings, port=0, limits="on")
    async with running(limited) as server, site_of(server) as site, AsyncExitStack() as stack:
        mine = [await stack.enter_async_context(site.source("ann")) for _ in range(5)]
        other = await stack.enter_async_context(site.source("bob"))
        mine.append(await stack.enter_async_context(site.source("ann")))
        assert (await mine[0].ended())["code"] == 4010
        last = await site.node.append("user:ann user:bob")
        for source in (*mine[1:], other):
            assert await source.seqs(1) == [last]


async def test_who_does_not_read_is_cut(site: Site) -> None:
    """A stream that is not read costs a bounded amount of memory and is cut as too slow; the others get all."""
    headers = await site.bearer("ann")
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
        async with site.source("ann") as quick:
            got = asyncio.create_task(quick.seqs(900))
            most = 0
            for _ in range(90):
                await site.node.append("user:ann", times=10, data=BIG)
                most = max(most, slow._behind_bytes + sum(map(len, slow.response._pieces)))
            assert await got == list(range(1, 901))
            await wait_until(lambda: site.gateway.counters.closes[4001] == 1)
        assert most < 1024 * 1024 + 200_000

        async def reset() -> bool:
            try:
                while await asyncio.wait_for(loop.sock_recv(sock, 65536), 1):
                    pass
            except ConnectionError:
                return True
            except TimeoutError:
                return False
            return True

        await wait_until(reset)


async def test_again_and_again_under_load(settings: Settings) -> None:
    """Cut in the middle again and again while two zones are busy, a client that gives back its last id gets each
    event of his once, in order.
    """
    wanted = msgspec.structs.replace(settings, port=0, zones=("main", "north"))
    async with running(wanted) as server, site_of(server) as site:
        chance = random.Random(7)
        sent: dict[str, list[int]] = {"main": [], "north": []}

        async def load() -> None:
            for _ in range(150):
                for zone, seqs in sent.items():
                    # Hers last: who has all of them need not wait for more.
                    await site.node.append("user:bob", times=chance.randint(0, 5) or 1, zone=zone)
                    last = await site.node.append("user:ann", times=4, zone=zone)
                    seqs.extend(range(last - 3, last + 1))

        got: dict[str, list[int]] = {"main": [], "north": []}
        async with site.source("ann") as source:
            cursor = source.last
        writing = asyncio.create_task(load())
        cuts = 0
        while not writing.done() or got != sent:
            async with site.source("ann", last=cursor) as source:
                assert source.hello.data["recovered"], source.hello  # type: ignore[attr-defined]
                for _ in range(chance.randint(1, 60)):
                    if writing.done() and got == sent:
                        break
                    block = await source.block()
                    assert block is not None
                    if block.data is not None:
                        got[block.data["zone"]].append(block.data["seq"])
                cursor = source.last
            cuts += 1
        await writing
        assert got == sent
        assert cuts > 10
        assert site.gateway.counters.closes[stream_connection.ABNORMAL_CLOSURE] >= cuts


async def test_a_reader_of_half_a_block_loses_nothing(site: Site) -> None:
    """Cut within a block, the block before is the cursor: the whole of the half-read one comes again."""
    await site.node.relayed(await site.node.append("user:ann", times=5))
    headers = await site.bearer("ann") | {"Accept": "text/event-stream", "Last-Event-ID": f"main:{epoch_name(1)}:0"}
    async with site.http.stream("GET", "/v1/events", headers=headers) as answer:
        text = ""
        async for part in answer.aiter_text():
            text += part
            if '"seq":3' in text:
                break
    whole = text[: text.index('"seq":3')].rpartition("\n\n")[0]
    last = whole.rpartition("id: ")[2].partition("\n")[0]
    assert last == f"main:{epoch_name(1)}:2"
    async with site.source("ann", last=last) as source:
        assert await source.seqs(3) == [3, 4, 5]
