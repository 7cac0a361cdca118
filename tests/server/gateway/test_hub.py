"""A broadcast is written without being queued: to its receivers it is an event like any other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Collection
from contextlib import AsyncExitStack

import pytest

from engine.events import Event
from engine.types import DEFAULT_ZONE
from server.gateway import hub
from server.gateway.protocol import Close
from server.gateway.session import Session
from tests.server.gateway.conftest import Client, Node

ALL, WHOLE = "role:customer", f"zone:{DEFAULT_ZONE}"


class Crowd:
    """Three customers, and the hub that they are told things by, as the relay does it."""

    def __init__(self, node: Node, clients: list[Client]) -> None:
        self.node = node
        self.clients = clients
        self.sessions = [self._session(client) for client in clients]

    def _session(self, client: Client) -> Session:
        known = client.hello["session"]  # type: ignore[attr-defined]
        return next(one for one in self.node.gateway.sessions if one.id == known)

    def tell(self, seq: int, *to: str) -> None:
        """Hand an event on. Nothing of it is written before this turn of the loop ends."""
        self.node.gateway.relay.fan_out(Event(DEFAULT_ZONE, seq, "test.event", to, 0, "engine", "", b"{}"), WHOLE)

    async def heard(self) -> list[list[int]]:
        """The seqs that each of them has got; the answer to a ping comes behind all that was."""
        for client in self.clients:
            await client.ask(op="ping")
        return [[push["seq"] for push in client.pushes] for client in self.clients]


@pytest.fixture
async def crowd(node: Node, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Crowd]:
    """Ann, Bob and Cem; two are many here, so that what is told to more than one is told as a broadcast."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(node.client(user)) for user in ("ann", "bob", "cem")]
        monkeypatch.setattr(hub, "BROADCAST", 2)
        yield Crowd(node, clients)


@pytest.mark.parametrize("more", [(), (2,)], ids=["written", "queued after all"])
async def test_one_who_is_gone_is_not_written_to(crowd: Crowd, more: tuple[int, ...]) -> None:
    """A connection lost between an event and its writing gets nothing any more."""
    ann, *_ = crowd.sessions
    written: list[bytes] = []
    ann.write = written.append
    crowd.tell(1, ALL)
    ann.handle_end(1006)
    for seq in more:
        crowd.tell(seq, ALL)
    crowd.clients.pop(0)
    assert await crowd.heard() == [[1, *more]] * 2
    assert written == []


async def test_one_who_comes_later_is_not_told(crowd: Crowd) -> None:
    """Who joins a channel after an event was handed on does not get it, who leaves it after does."""
    ann, bob, cem = crowd.sessions
    ann.subscribe("job:x")
    bob.subscribe("job:x")
    crowd.tell(1, "job:x")
    cem.subscribe("job:x")
    ann.unsubscribe("job:x")
    assert await crowd.heard() == [[1], [1], []]


async def test_directed_events_keep_their_place(crowd: Crowd) -> None:
    """Events to all and to one come in the order in which they were handed on, to each once."""
    crowd.tell(1, "user:ann")
    crowd.tell(2, ALL)
    crowd.tell(3, "user:bob")
    crowd.tell(4, ALL, "user:ann")
    crowd.tell(5, "user:ann")
    assert await crowd.heard() == [[1, 2, 4, 5], [2, 3, 4], [2, 4]]


async def test_pushes_come_behind(crowd: Crowd) -> None:
    """What is pushed after a broadcast in the same turn is sent after it, a ping's answer with its count too."""
    ann, bob, _ = crowd.sessions
    crowd.tell(1, ALL)
    ann.push(ann.hub.frames.frame(b'{"seq":2}'))
    await asyncio.sleep(0)
    crowd.tell(3, ALL)
    bob.handle_message(b'{"id":"p","op":"ping"}', False)
    assert await crowd.clients[0].seqs(3) == [1, 2, 3]
    assert await crowd.clients[1].seqs(2) == [1, 3]
    assert (await crowd.clients[1].receive())["ok"]["n"] == 2
    assert await crowd.clients[2].seqs(2) == [1, 3]
    crowd.tell(4, ALL)
    await asyncio.sleep(0)
    assert [one.push_count for one in crowd.sessions] == [3, 3, 3]


async def test_replies_go_ahead(crowd: Crowd) -> None:
    """An answer given in the turn of a broadcast does not wait behind it."""
    crowd.tell(1, ALL)
    crowd.sessions[0].handle_message(b'{"id":"r","op":"connect","token":"x"}', False)
    first = await crowd.clients[0].receive()
    assert first["id"] == "r"
    assert await crowd.heard() == [[1], [1], [1]]


async def test_said_before_the_close(crowd: Crowd) -> None:
    """A session that ends in the turn of a broadcast is sent it first, then the close frame; the others get it once."""
    ann, *_ = crowd.sessions
    crowd.tell(1, ALL)
    ann.close(Close.REPLACED, "replaced")
    crowd.tell(2, ALL)
    told = await crowd.clients[0].receive()
    assert told["seq"] == 1
    assert await crowd.clients[0].closed() == Close.REPLACED
    crowd.clients.pop(0)
    assert await crowd.heard() == [[1, 2], [1, 2]]


async def test_one_who_is_slow_falls_behind(crowd: Crowd) -> None:
    """While the transport holds bytes a broadcast waits in the bounded queue, and comes in its place afterwards."""
    ann, *_ = crowd.sessions
    ann.pause()
    crowd.tell(1, ALL)
    crowd.tell(2, ALL)
    await asyncio.sleep(0)
    crowd.tell(3, ALL)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert ann.waiting_bytes > 0
    assert ann in crowd.node.gateway.sessions_behind
    ann.resume()
    assert ann.waiting_bytes == 0
    assert await crowd.heard() == [[1, 2, 3]] * 3


async def test_the_loop_is_given_back(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broadcast that takes longer than a slice goes on in the next turn; what comes between comes behind it."""
    monkeypatch.setattr(hub, "TIME_SLICE_S", 0.0)
    monkeypatch.setattr(hub, "_SESSIONS_PER_CLOCK_READ", 1)
    counters = crowd.node.gateway.counters
    before = counters.frames_out
    crowd.tell(1, ALL)
    await asyncio.sleep(0)
    first = counters.frames_out - before
    await asyncio.sleep(0)
    second = counters.frames_out - before
    crowd.tell(2, ALL)
    assert (first, second) == (1, 2)
    assert await crowd.heard() == [[1, 2]] * 3
    assert sum(counters.broadcasts.counts) > 0


async def test_who_waits_for_his_turn_keeps_his_order(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a slice ended before a session's own event was written, a broadcast does not overtake it."""
    monkeypatch.setattr(hub, "TIME_SLICE_S", 0.0)
    monkeypatch.setattr(hub, "_SESSIONS_PER_CLOCK_READ", 1)
    for session in crowd.node.gateway.hub.members(ALL):
        crowd.tell(1, f"user:{session.caller.id}")
    crowd.tell(2, ALL)
    assert await crowd.heard() == [[1, 2]] * 3


class OtherHub(hub.Hub):
    """A hub of another encoding, which stores what it delivers."""

    def __init__(self, payloads: list[bytes], recipients: list[Session]) -> None:
        self.payloads = payloads
        self.found = recipients

    def recipients(self, *_: object) -> list[Session]:
        """The given sessions."""
        return self.found

    def deliver(self, recipients: Collection[Session], payload: bytes) -> None:
        """Store the payload."""
        self.payloads.append(payload)


async def test_a_payload_is_encoded_once_for_all_hubs(crowd: Crowd, monkeypatch: pytest.MonkeyPatch) -> None:
    """All hubs get the same payload, and an event without a recipient is not encoded."""
    relay, encoded = crowd.node.gateway.relay, Counter[int]()
    encode, delivered = relay._encode, list[bytes]()

    def counted(event: Event) -> bytes:
        encoded[event.seq] += 1
        return encode(event)

    monkeypatch.setattr(relay, "_encode", counted)
    monkeypatch.setattr(relay, "_hubs", [OtherHub(delivered, []), *[OtherHub(delivered, crowd.sessions)] * 2])
    crowd.tell(1, ALL)
    monkeypatch.setattr(relay, "_hubs", [OtherHub(delivered, [])])
    crowd.tell(2, ALL)
    assert encoded == {1: 1}
    assert len(delivered) == 2 and delivered[0] is delivered[1]
