"""The client against a server that does as the test says: what is lost on the way, the client makes good."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from callout_client import Backoff, Callout, Ended, On, Refusal, Unreachable
from callout_client.connector import SUBPROTOCOL

Frame = dict[str, Any]
AT = "2026-01-31T12:00:00.000Z"


class Peer:
    """One accepted connection, from the server's side."""

    def __init__(self, socket: ServerConnection) -> None:
        self.socket = socket

    async def send(self, **frame: Any) -> None:
        await self.socket.send(json.dumps(frame))

    async def hear(self) -> Frame:
        frame: Frame = json.loads(await self.socket.recv())
        return frame

    async def welcome(self, seq: int, *, recovered: bool = False, missed: int = 0) -> Frame:
        hello = await self.hear()
        zone = {"epoch": "e1", "seq": seq, "recovered": recovered, "missed": missed}
        ok = {"user": {"id": "u", "role": "technician"}, "ping": 25, "pong": 10, "zones": {"main": zone}}
        await self.send(id=hello["id"], ok=ok)
        return hello

    async def push(self, *seqs: int) -> None:
        for seq in seqs:
            await self.send(type="offer.created", event="new", zone="main", seq=seq, at=AT, data={})


class Stage:
    """A client and the connections it makes, in turn."""

    def __init__(self, url: str, peers: asyncio.Queue[Peer]) -> None:
        self.peers = peers
        self.heard: list[int] = []
        self.repeats: list[int] = []
        self.tokens: list[bool] = []
        on = On(lambda event: self.heard.append(event["seq"]), repeat=lambda event: self.repeats.append(event["seq"]))
        self.client = Callout(url, self._token, on)
        self.client._backoff = Backoff(first_s=0.01, cap_s=0.01)

    async def _token(self, fresh: bool) -> str:
        self.tokens.append(fresh)
        return "fresh" if fresh else "old"

    async def opened(self, seq: int = 10) -> Peer:
        opening = asyncio.create_task(self.client.open())
        peer = await self.peers.get()
        await peer.welcome(seq)
        await opening
        return peer

    async def in_step(self, peer: Peer) -> None:
        """Return when the client has handled all that was sent before."""
        await peer.send()
        assert await peer.hear() == {}


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    peers: asyncio.Queue[Peer] = asyncio.Queue()
    async with _server(peers.put_nowait) as url:
        stage = Stage(url, peers)
        yield stage
        await stage.client.close()


@asynccontextmanager
async def _server(accept: Callable[[Peer], None]) -> AsyncIterator[str]:
    async def handler(socket: ServerConnection) -> None:
        accept(Peer(socket))
        await socket.wait_closed()

    async with serve(handler, "127.0.0.1", 0, subprotocols=[SUBPROTOCOL]) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_credentials_that_never_work_end_it(stage: Stage) -> None:
    """A refused connect is told to the caller, and not tried for ever."""
    opening = asyncio.create_task(stage.client.open())
    peer = await stage.peers.get()
    hello = await peer.hear()
    await peer.send(id=hello["id"], error={"code": "unauthenticated", "title": "Sign in first"})
    with pytest.raises(Ended, match="Sign in first"):
        await opening


@pytest.mark.parametrize("code", [4500, 4502, 4506, 1009])
async def test_a_close_code_that_forbids_it_is_obeyed(stage: Stage, code: int) -> None:
    """After 4500 to 4999, and what a fault of the client's own caused, it stays away."""
    peer = await stage.opened()
    asking = asyncio.create_task(stage.client.request("ping"))
    await peer.hear()
    await peer.socket.close(code)
    with pytest.raises(Ended):
        await asking
    with pytest.raises(Ended):
        await stage.client.request("ping")
    assert stage.peers.empty()


async def test_a_refusal_carries_its_code(stage: Stage) -> None:
    """An error under the request's id is raised to whoever asked."""
    peer = await stage.opened()
    claiming = asyncio.create_task(stage.client.request("claim", job="j"))
    await peer.send(id=(await peer.hear())["id"], error={"code": "taken", "title": "Booking already taken"})
    with pytest.raises(Refusal, match="Booking already taken") as refused:
        await claiming
    assert refused.value.code == "taken"


async def test_a_request_that_nobody_answers_is_given_up(stage: Stage) -> None:
    """Patience has an end, and the error says that the outcome is unknown, not that it failed."""
    await stage.opened()
    with pytest.raises(Unreachable):
        await stage.client.request("claim", job="j", patience_s=0.05)


async def test_an_expired_token_is_replaced_once(stage: Stage) -> None:
    """The server leaves one more try: it is used, with a fresh token."""
    opening = asyncio.create_task(stage.client.open())
    peer = await stage.peers.get()
    assert (await peer.hear())["token"] == "old"
    await peer.send(id=0, error={"code": "token_expired", "title": "Token expired"})
    assert (await peer.welcome(1))["token"] == "fresh"
    await opening


async def test_it_names_the_session_that_it_replaces(stage: Stage) -> None:
    """Its last socket, which the server may take for alive, is to count no more; the first one replaces nothing."""
    opening = asyncio.create_task(stage.client.open())
    peer = await stage.peers.get()
    assert "replaces" not in await peer.welcome(10)
    await opening
    stage.client.session["session"] = "ses_last"
    peer.socket.transport.abort()
    assert (await (await stage.peers.get()).welcome(10, recovered=True))["replaces"] == "ses_last"


@pytest.mark.parametrize("code", [4003, 4006])
async def test_it_reauthenticates_when_told_to(stage: Stage, code: int) -> None:
    """A token known to be of no use is not tried again."""
    peer = await stage.opened()
    await peer.socket.close(code)
    await (await stage.peers.get()).welcome(10, recovered=True)
    assert stage.tokens == [False, True]


async def test_a_lost_reply_is_asked_for_again_with_the_same_key(stage: Stage) -> None:
    """A cut between command and reply repeats the very same frame, and the caller sees one answer."""
    peer = await stage.opened()
    claiming = asyncio.create_task(stage.client.request("claim", job="j"))
    first = await peer.hear()
    peer.socket.transport.abort()
    peer = await stage.peers.get()
    await peer.welcome(10, recovered=True)
    assert await peer.hear() == first
    await peer.send(id=first["id"], ok={"message": "Job accepted"})
    assert (await claiming)["message"] == "Job accepted"


async def test_an_unknown_outcome_is_asked_again_with_the_same_key(stage: Stage) -> None:
    """After 504 the same key goes out again; only then does the server know the repeat."""
    peer = await stage.opened()
    claiming = asyncio.create_task(stage.client.request("claim", job="j"))
    first = await peer.hear()
    error = {"code": "indeterminate", "temporary": True, "retry_after": 0.01}
    await peer.send(id=first["id"], error=error)
    again = await peer.hear()
    assert (again["key"], again["job"]) == (first["key"], "j")
    await peer.send(id=again["id"], ok={})
    await claiming


async def test_a_repeated_push_is_handed_on_once(stage: Stage) -> None:
    """What is at or below the cursor is a repeat, also when it was never seen because a head passed it."""
    peer = await stage.opened(seq=10)
    await peer.push(11, 12, 11, 12, 10, 13)
    await peer.send(zone="main", epoch="e1", seq=20)
    await peer.push(20, 21)
    await stage.in_step(peer)
    assert stage.heard == [11, 12, 13, 21]
    assert stage.repeats == [11, 12, 10, 20]


async def test_it_resumes_from_where_it_was(stage: Stage) -> None:
    """Events and heads alike move the cursor that the next connect names."""
    peer = await stage.opened(seq=10)
    await peer.push(11)
    await peer.send(zone="main", epoch="e1", seq=15)
    await stage.in_step(peer)
    await stage.client.cut()
    hello = await (await stage.peers.get()).welcome(15, recovered=True)
    assert hello["cursors"] == {"main": {"epoch": "e1", "seq": 15}}


async def test_the_head_at_joining_counts_only_after_the_missed_events(stage: Stage) -> None:
    """Cut again in the middle of the replay, it asks from the last event it had, not from the head."""
    peer = await stage.opened(seq=10)
    await stage.client.cut()
    peer = await stage.peers.get()
    await peer.welcome(30, recovered=True, missed=2)
    await peer.push(14)
    await stage.in_step(peer)
    await stage.client.cut()
    peer = await stage.peers.get()
    assert (await peer.welcome(40, recovered=True, missed=1))["cursors"]["main"]["seq"] == 14
    await peer.push(22)
    await stage.in_step(peer)
    assert stage.client.cursors["main"] == {"epoch": "e1", "seq": 40}
    assert stage.heard == [14, 22]


async def test_a_gap_that_is_told_of_moves_the_cursor_to_the_head(stage: Stage) -> None:
    """Where the server cannot resume, it goes on from the head it was given, even a lower one."""
    await stage.opened(seq=10)
    await stage.client.cut()
    peer = await stage.peers.get()
    await peer.welcome(5)
    await peer.push(6)
    await stage.in_step(peer)
    assert stage.heard == [6]


def test_waits_are_drawn_from_nought_to_a_doubling_ceiling() -> None:
    """Full jitter between 0.5 and 20 s; a connect reply begins again."""
    backoff = Backoff()
    waits = [[Backoff(tries=n).next_s() for _ in range(200)] for n in range(8)]
    ceilings = [min(20.0, 0.5 * 2**n) for n in range(8)]
    assert all(0.6 * top < max(drawn) <= top for drawn, top in zip(waits, ceilings, strict=True))
    assert all(min(drawn) < 0.2 * top for drawn, top in zip(waits, ceilings, strict=True))
    backoff.next_s()
    backoff.reset()
    assert backoff.tries == 0


def test_who_comes_too_often_waits_longer_than_anybody() -> None:
    """From half of the longest wait up to that, and spread."""
    waits = [Backoff().next_s(later=True) for _ in range(200)]
    assert 10 <= min(waits) < 12 and 18 < max(waits) <= 20


async def test_after_too_many_requests_it_comes_back_later(stage: Stage) -> None:
    """4010 is answered by the long wait; any other code that comes back by the usual one."""
    drawn: list[bool] = []

    class Noted(Backoff):
        def next_s(self, *, later: bool = False) -> float:
            drawn.append(later)
            return 0

    stage.client._backoff = Noted()
    peer = await stage.opened()
    for code in (4010, 4001):
        await peer.socket.close(code)
        peer = await stage.peers.get()
        await peer.welcome(10)
    assert drawn == [True, False]
