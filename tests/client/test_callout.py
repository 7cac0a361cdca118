"""The client against a server that sends exactly the frames of the test. The client repeats requests whose reply was
lost.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from callout_client import Backoff, Callout, Ended, Listeners, Refusal, Room, Unreachable
from callout_client.connector import SUBPROTOCOL
from tests.support.wait import wait_until

Frame = dict[str, Any]
EVENT_TIME = "2026-01-31T12:00:00.000Z"


class Peer:
    """One accepted connection, seen from the server."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket

    async def send(self, **frame: Any) -> None:
        """Send one frame to the client."""
        await self.socket.send(json.dumps(frame))

    async def receive(self) -> Frame:
        """Return the next frame from the client."""
        frame: Frame = json.loads(await self.socket.recv())
        return frame

    async def accept_connect(self, seq: int, *, recovered: bool = False, missed: int = 0) -> Frame:
        """Answer the client's `connect`, with ``seq`` as the head of the zone, and return the `connect` frame."""
        hello = await self.receive()
        zone = {"epoch": "e1", "seq": seq, "recovered": recovered, "missed": missed}
        ok = {"user": {"id": "u", "role": "technician"}, "ping": 25, "pong": 10, "zones": {"main": zone}}
        await self.send(id=hello["id"], ok=ok)
        return hello

    async def push(self, *seqs: int) -> None:
        """Send the client one event with each seq of ``seqs``."""
        for seq in seqs:
            await self.send(type="offer.created", event="new", zone="main", seq=seq, at=EVENT_TIME, data={})


class Harness:
    """A client and the connections that it opens, in order."""

    def __init__(self, url: str, peers: asyncio.Queue[Peer]) -> None:
        self.peers = peers
        self.received_seqs: list[int] = []
        self.repeats: list[int] = []
        self.tokens: list[bool] = []
        on = Listeners(
            lambda event: self.received_seqs.append(event["seq"]),
            repeat=lambda event: self.repeats.append(event["seq"]),
        )
        self.client = Callout(url, self._next_token, on)
        self.client._backoff = Backoff(first_s=0.01, max_s=0.01)

    async def _next_token(self, fresh: bool) -> str:
        self.tokens.append(fresh)
        return "fresh" if fresh else "old"

    async def open_client(self, seq: int = 10) -> Peer:
        """Open the client and answer its `connect`. Return the connection."""
        opening = asyncio.create_task(self.client.open())
        peer = await self.peers.get()
        await peer.accept_connect(seq)
        await opening
        return peer

    async def wait_until_handled(self, peer: Peer) -> None:
        """Wait until the client has handled all frames that were sent before."""
        await peer.send()
        assert await peer.receive() == {}


@pytest.fixture
async def harness() -> AsyncIterator[Harness]:
    """Run a server for one client."""
    peers: asyncio.Queue[Peer] = asyncio.Queue()
    async with _serve_peers(peers.put_nowait) as url:
        harness = Harness(url, peers)
        yield harness
        await harness.client.close()


@asynccontextmanager
async def _serve_peers(accept: Callable[[Peer], None]) -> AsyncIterator[str]:
    async def handler(socket: ServerConnection) -> None:
        accept(Peer(socket))
        await socket.wait_closed()

    async with serve(handler, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_refused_connect_ends_the_client(harness: Harness) -> None:
    """A `connect` that is refused raises Ended, and is not repeated."""
    opening = asyncio.create_task(harness.client.open())
    peer = await harness.peers.get()
    hello = await peer.receive()
    await peer.send(id=hello["id"], error={"code": "unauthenticated", "title": "Sign in first"})
    with pytest.raises(Ended, match="Sign in first"):
        await opening


@pytest.mark.parametrize("code", [4500, 4502, 4506, 1009])
async def test_a_final_close_code_ends_the_client(harness: Harness, code: int) -> None:
    """After the close codes 4500 to 4999 and 1009 (message too big) the client does not reconnect. Its requests raise
    Ended.
    """
    peer = await harness.open_client()
    asking = asyncio.create_task(harness.client.request("ping"))
    await peer.receive()
    await peer.socket.close(code)
    with pytest.raises(Ended):
        await asking
    with pytest.raises(Ended):
        await harness.client.request("ping")
    assert harness.peers.empty()


async def test_a_refusal_carries_its_code(harness: Harness) -> None:
    """An error under a request's id is raised to its caller as a Refusal with the code."""
    peer = await harness.open_client()
    claiming = asyncio.create_task(harness.client.request("claim", job="j"))
    await peer.send(id=(await peer.receive())["id"], error={"code": "taken", "title": "Booking already taken"})
    with pytest.raises(Refusal, match="Booking already taken") as refused:
        await claiming
    assert refused.value.code == "taken"


async def test_a_request_without_a_reply_raises_unreachable(harness: Harness) -> None:
    """A request without a reply raises Unreachable after ``patience_s``: its outcome is unknown."""
    await harness.open_client()
    with pytest.raises(Unreachable):
        await harness.client.request("claim", job="j", patience_s=0.05)


async def test_an_expired_token_is_replaced_once(harness: Harness) -> None:
    """After `token_expired` the client sends `connect` once more on the same connection, with a fresh token."""
    opening = asyncio.create_task(harness.client.open())
    peer = await harness.peers.get()
    assert (await peer.receive())["token"] == "old"
    await peer.send(id=0, error={"code": "token_expired", "title": "Token expired"})
    assert (await peer.accept_connect(1))["token"] == "fresh"
    await opening


async def test_a_reconnect_names_the_session_that_it_replaces(harness: Harness) -> None:
    """A reconnect names the last session in `replaces`, so that the server does not count it any more. The first
    `connect` names none.
    """
    opening = asyncio.create_task(harness.client.open())
    peer = await harness.peers.get()
    assert "replaces" not in await peer.accept_connect(10)
    await opening
    harness.client.session["session"] = "ses_last"
    peer.socket.transport.abort()
    assert (await (await harness.peers.get()).accept_connect(10, recovered=True))["replaces"] == "ses_last"


@pytest.mark.parametrize("code", [4003, 4006])
async def test_close_codes_that_require_a_new_token(harness: Harness, code: int) -> None:
    """After 4003 and 4006 the client reconnects with a fresh token."""
    peer = await harness.open_client()
    await peer.socket.close(code)
    await (await harness.peers.get()).accept_connect(10, recovered=True)
    assert harness.tokens == [False, True]


async def test_a_request_with_a_lost_reply_is_repeated_with_its_key(harness: Harness) -> None:
    """If the connection is cut between a request and its reply, the client sends the same frame again, and the caller
    gets one reply.
    """
    peer = await harness.open_client()
    claiming = asyncio.create_task(harness.client.request("claim", job="j"))
    first = await peer.receive()
    peer.socket.transport.abort()
    peer = await harness.peers.get()
    await peer.accept_connect(10, recovered=True)
    assert await peer.receive() == first
    await peer.send(id=first["id"], ok={"message": "Job accepted"})
    assert (await claiming)["message"] == "Job accepted"


async def test_an_unknown_outcome_is_repeated_with_its_key(harness: Harness) -> None:
    """After `indeterminate` (504) the client repeats the request with the same key, so that the server
    recognises it.
    """
    peer = await harness.open_client()
    claiming = asyncio.create_task(harness.client.request("claim", job="j"))
    first = await peer.receive()
    error = {"code": "indeterminate", "temporary": True, "retry_after": 0.01}
    await peer.send(id=first["id"], error=error)
    again = await peer.receive()
    assert (again["key"], again["job"]) == (first["key"], "j")
    await peer.send(id=again["id"], ok={})
    await claiming


async def test_a_room_says_a_message_until_it_is_answered(harness: Harness) -> None:
    """After a reply `indeterminate` (504), and after a lost connection, a room sends its message again with the same
    `client_id` and key. A second message waits until the first has its reply.
    """
    peer = await harness.open_client()
    room = Room(harness.client, "room_1")
    opening = asyncio.create_task(room.open())
    join = {"room": {"state": "open", "members": []}, "messages": [], "seq": 1}
    await peer.send(id=(await peer.receive())["id"], ok=join)
    await opening
    room.say("one", client_id="c1")
    room.say("two", client_id="c2")
    first = await peer.receive()
    assert (first["op"], first["text"], first["client_id"]) == ("say", "one", "c1")
    await peer.send(id=first["id"], error={"code": "indeterminate", "temporary": True, "retry_after": 0.01})
    again = await peer.receive()
    assert again | {"id": 0} == first | {"id": 0}
    peer.socket.transport.abort()
    peer = await harness.peers.get()
    await peer.accept_connect(10, recovered=True)
    frames = {frame["op"]: frame for frame in (await peer.receive(), await peer.receive())}
    assert frames["say"] == again
    await peer.send(id=frames["join"]["id"], ok=join)
    for n, client_id in ((1, "c1"), (2, "c2")):
        frame = frames["say"] if n == 1 else await peer.receive()
        assert frame["client_id"] == client_id
        message = {"n": n, "client_id": client_id, "sender": {"id": "u"}, "text": frame["text"]}
        await peer.send(id=frame["id"], ok={"message": message, "seq": 10 + n})
    await wait_until(lambda: [each.get("n") for each in room.messages] == [1, 2], what="both answers")


async def test_a_repeated_push_is_delivered_once(harness: Harness) -> None:
    """A push at or below the cursor is a repeat, even if the client never received the event, because a frame with
    the zone's head moved the cursor.
    """
    peer = await harness.open_client(seq=10)
    await peer.push(11, 12, 11, 12, 10, 13)
    await peer.send(zone="main", epoch="e1", seq=20)
    await peer.push(20, 21)
    await harness.wait_until_handled(peer)
    assert harness.received_seqs == [11, 12, 13, 21]
    assert harness.repeats == [11, 12, 10, 20]


async def test_a_reconnect_sends_the_last_cursor(harness: Harness) -> None:
    """Events, and frames with the zone's head, move the cursor that the next `connect` sends."""
    peer = await harness.open_client(seq=10)
    await peer.push(11)
    await peer.send(zone="main", epoch="e1", seq=15)
    await harness.wait_until_handled(peer)
    await harness.client.cut()
    hello = await (await harness.peers.get()).accept_connect(15, recovered=True)
    assert hello["cursors"] == {"main": {"epoch": "e1", "seq": 15}}


async def test_the_head_becomes_the_cursor_after_the_missed_events(harness: Harness) -> None:
    """A client that is cut in the middle of a replay resumes from the last event that it received, not from the head of
    the zone.
    """
    peer = await harness.open_client(seq=10)
    await harness.client.cut()
    peer = await harness.peers.get()
    await peer.accept_connect(30, recovered=True, missed=2)
    await peer.push(14)
    await harness.wait_until_handled(peer)
    await harness.client.cut()
    peer = await harness.peers.get()
    assert (await peer.accept_connect(40, recovered=True, missed=1))["cursors"]["main"]["seq"] == 14
    await peer.push(22)
    await harness.wait_until_handled(peer)
    assert harness.client.cursors["main"] == {"epoch": "e1", "seq": 40}
    assert harness.received_seqs == [14, 22]


async def test_a_reported_gap_moves_the_cursor_to_the_head(harness: Harness) -> None:
    """If the server cannot resume, the client continues from the head in the reply, even if that is lower than its
    cursor.
    """
    await harness.open_client(seq=10)
    await harness.client.cut()
    peer = await harness.peers.get()
    await peer.accept_connect(5)
    await peer.push(6)
    await harness.wait_until_handled(peer)
    assert harness.received_seqs == [6]


def test_waits_are_random_below_a_doubling_ceiling() -> None:
    """The wait before a reconnect is random (full jitter) below a ceiling that doubles from 0.5 to 20 s. A successful
    `connect` resets it.
    """
    backoff = Backoff()
    waits = [[Backoff(tries=n).next_s() for _ in range(200)] for n in range(8)]
    ceilings = [min(20.0, 0.5 * 2**n) for n in range(8)]
    assert all(0.6 * top < max(drawn) <= top for drawn, top in zip(waits, ceilings, strict=True))
    assert all(min(drawn) < 0.2 * top for drawn, top in zip(waits, ceilings, strict=True))
    backoff.next_s()
    backoff.reset()
    assert backoff.tries == 0


def test_the_wait_after_4010_is_the_longest() -> None:
    """After 4010 the wait is random between 10 and 20 s: at least half of the longest wait."""
    waits = [Backoff().next_s(later=True) for _ in range(200)]
    assert 10 <= min(waits) < 12 and 18 < max(waits) <= 20


async def test_after_4010_the_client_waits_longer(harness: Harness) -> None:
    """After 4010 (too many requests) the client uses the long wait. After other codes it uses the usual wait."""
    delays: list[bool] = []

    class RecordingBackoff(Backoff):
        def next_s(self, *, later: bool = False) -> float:
            delays.append(later)
            return 0

    harness.client._backoff = RecordingBackoff()
    peer = await harness.open_client()
    for code in (4010, 4001):
        await peer.socket.close(code)
        peer = await harness.peers.get()
        await peer.accept_connect(10)
    assert delays == [True, False]
