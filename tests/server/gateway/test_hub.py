"""A broadcast is written without a queue, but its recipients see no difference from any other event."""

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

ALL_CUSTOMERS, ZONE_CHANNEL = "role:customer", f"zone:{DEFAULT_ZONE}"


class ThreeClients:
    """Three clients of customers, and the relay that sends events to their sessions."""

    def __init__(self, node: Node, clients: list[Client]) -> None:
        self.node = node
        self.sockets = clients
        self.sessions = [self._session_of(client) for client in clients]

    def _session_of(self, client: Client) -> Session:
        """Return the session of this client."""
        session_id = client.hello["session"]  # type: ignore[attr-defined]
        return next(session for session in self.node.gateway.sessions if session.id == session_id)

    def fan_out(self, seq: int, *to: str) -> None:
        """Deliver an event to the channels ``to``. It is written only at the end of this turn of the event loop."""
        self.node.gateway.relay.fan_out(
            Event(DEFAULT_ZONE, seq, "test.event", to, 0, "engine", "", b"{}"), ZONE_CHANNEL
        )

    async def received_seqs(self) -> list[list[int]]:
        """Return the seqs that each client has received. The reply to a ping arrives after all earlier pushes."""
        for client in self.sockets:
            await client.request(op="ping")
        return [[push["seq"] for push in client.pushes] for client in self.sockets]


@pytest.fixture
async def clients(each_sender: None, node: Node, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ThreeClients]:
    """Connect Ann, Bob and Cem. An event to two or more sessions counts as a broadcast here."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(node.connect(user)) for user in ("ann", "bob", "cem")]
        monkeypatch.setattr(hub, "MIN_BROADCAST_SOCKETS", 2)
        yield ThreeClients(node, clients)


@pytest.mark.parametrize("more", [(), (2,)], ids=["written", "queued after all"])
async def test_nothing_is_written_to_a_lost_connection(clients: ThreeClients, more: tuple[int, ...]) -> None:
    """A connection that is lost between the delivery of an event and its write gets no bytes."""
    ann, *_ = clients.sessions
    written: list[bytes] = []
    ann.write = written.append
    clients.fan_out(1, ALL_CUSTOMERS)
    ann.handle_end(1006)
    for seq in more:
        clients.fan_out(seq, ALL_CUSTOMERS)
    clients.sockets.pop(0)
    assert await clients.received_seqs() == [[1, *more]] * 2
    assert written == []


async def test_a_later_subscriber_does_not_receive_the_event(clients: ThreeClients) -> None:
    """A session that joins a channel after an event was delivered does not receive the event. A session that leaves the
    channel afterwards receives it.
    """
    ann, bob, cem = clients.sessions
    ann.subscribe("job:x")
    bob.subscribe("job:x")
    clients.fan_out(1, "job:x")
    cem.subscribe("job:x")
    ann.unsubscribe("job:x")
    assert await clients.received_seqs() == [[1], [1], []]


async def test_directed_events_and_broadcasts_remain_in_order(clients: ThreeClients) -> None:
    """Events to all clients and events to one client arrive in the order of their delivery, each once."""
    clients.fan_out(1, "user:ann")
    clients.fan_out(2, ALL_CUSTOMERS)
    clients.fan_out(3, "user:bob")
    clients.fan_out(4, ALL_CUSTOMERS, "user:ann")
    clients.fan_out(5, "user:ann")
    assert await clients.received_seqs() == [[1, 2, 4, 5], [2, 3, 4], [2, 4]]


async def test_later_pushes_follow_the_broadcast(clients: ThreeClients) -> None:
    """Frames that are pushed after a broadcast in the same turn are sent after it. The same holds for the reply to a
    ping, which counts the broadcast.
    """
    ann, bob, _ = clients.sessions
    clients.fan_out(1, ALL_CUSTOMERS)
    ann.push(ann.hub.frames.frame(b'{"seq":2}'))
    await asyncio.sleep(0)
    clients.fan_out(3, ALL_CUSTOMERS)
    bob.handle_message(b'{"id":"p","op":"ping"}', False)
    assert await clients.sockets[0].next_seqs(3) == [1, 2, 3]
    assert await clients.sockets[1].next_seqs(2) == [1, 3]
    assert (await clients.sockets[1].receive())["ok"]["n"] == 2
    assert await clients.sockets[2].next_seqs(2) == [1, 3]
    clients.fan_out(4, ALL_CUSTOMERS)
    await asyncio.sleep(0)
    assert [one.push_count for one in clients.sessions] == [3, 3, 3]


async def test_replies_are_sent_before_a_broadcast(clients: ThreeClients) -> None:
    """A reply to a request in the turn of a broadcast is sent before the broadcast."""
    clients.fan_out(1, ALL_CUSTOMERS)
    clients.sessions[0].handle_message(b'{"id":"r","op":"connect","token":"x"}', False)
    first = await clients.sockets[0].receive()
    assert first["id"] == "r"
    assert await clients.received_seqs() == [[1], [1], [1]]


async def test_a_broadcast_is_sent_before_the_close(clients: ThreeClients) -> None:
    """A session that ends in the turn of a broadcast gets the broadcast and then the close frame. The other sessions
    get the broadcast once.
    """
    ann, *_ = clients.sessions
    clients.fan_out(1, ALL_CUSTOMERS)
    ann.close(Close.REPLACED, "replaced")
    clients.fan_out(2, ALL_CUSTOMERS)
    broadcast = await clients.sockets[0].receive()
    assert broadcast["seq"] == 1
    assert await clients.sockets[0].wait_for_close() == Close.REPLACED
    clients.sockets.pop(0)
    assert await clients.received_seqs() == [[1, 2], [1, 2]]


async def test_a_slow_client_receives_the_broadcast_later(clients: ThreeClients) -> None:
    """While the transport of a client cannot write, a broadcast waits in its bounded send buffer, and is then sent in
    order.
    """
    ann, *_ = clients.sessions
    ann.pause()
    clients.fan_out(1, ALL_CUSTOMERS)
    clients.fan_out(2, ALL_CUSTOMERS)
    await asyncio.sleep(0)
    clients.fan_out(3, ALL_CUSTOMERS)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert ann.waiting_bytes > 0
    assert ann in clients.node.gateway.sessions_with_backlog
    ann.resume()
    assert ann.waiting_bytes == 0
    assert await clients.received_seqs() == [[1, 2, 3]] * 3


async def test_a_long_broadcast_yields_to_the_loop(clients: ThreeClients, monkeypatch: pytest.MonkeyPatch) -> None:
    """A broadcast that takes longer than ``TIME_SLICE_S`` continues in the next turn of the loop. An event that is
    delivered in between is sent after it.
    """
    monkeypatch.setattr(hub, "TIME_SLICE_S", 0.0)
    monkeypatch.setattr(hub, "_SESSIONS_PER_CLOCK_READ", 1)
    counters = clients.node.gateway.counters
    before = counters.frames_out
    clients.fan_out(1, ALL_CUSTOMERS)
    await asyncio.sleep(0)
    first = counters.frames_out - before
    await asyncio.sleep(0)
    second = counters.frames_out - before
    clients.fan_out(2, ALL_CUSTOMERS)
    assert (first, second) == (1, 2)
    assert await clients.received_seqs() == [[1, 2]] * 3
    assert sum(counters.broadcast_s.counts) > 0


async def test_a_broadcast_does_not_overtake_a_waiting_event(
    clients: ThreeClients, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a time slice ended before an event to one session was written, a later broadcast is sent after that event."""
    monkeypatch.setattr(hub, "TIME_SLICE_S", 0.0)
    monkeypatch.setattr(hub, "_SESSIONS_PER_CLOCK_READ", 1)
    for session in clients.node.gateway.hub.members(ALL_CUSTOMERS):
        clients.fan_out(1, f"user:{session.caller.id}")
    clients.fan_out(2, ALL_CUSTOMERS)
    assert await clients.received_seqs() == [[1, 2]] * 3


class RecordingHub(hub.Hub):
    """A hub that stores the payloads. A hub sends events to the sessions of one subprotocol."""

    def __init__(self, payloads: list[bytes], recipients: list[Session]) -> None:
        self.channels = {ALL_CUSTOMERS: set(recipients)}
        self.payloads = payloads
        self.found = recipients

    def recipients(self, *_: object) -> list[Session]:
        """Return the sessions given to the constructor, for every event."""
        return self.found

    def deliver(self, recipients: Collection[Session], payload: bytes) -> None:
        """Store the payload."""
        self.payloads.append(payload)


async def test_a_payload_is_encoded_once_for_all_hubs(clients: ThreeClients, monkeypatch: pytest.MonkeyPatch) -> None:
    """The relay encodes a payload once and passes it to the hub of each subprotocol. It does not encode an event that
    has no recipient.
    """
    relay, encoded = clients.node.gateway.relay, Counter[int]()
    encode, delivered = relay._encode, list[bytes]()

    def count_and_encode(event: Event) -> bytes:
        encoded[event.seq] += 1
        return encode(event)

    monkeypatch.setattr(relay, "_encode", count_and_encode)
    monkeypatch.setattr(relay, "_hubs", [RecordingHub(delivered, []), *[RecordingHub(delivered, clients.sessions)] * 2])
    clients.fan_out(1, ALL_CUSTOMERS)
    monkeypatch.setattr(relay, "_hubs", [RecordingHub(delivered, [])])
    clients.fan_out(2, ALL_CUSTOMERS)
    assert encoded == {1: 1}
    assert len(delivered) == 2 and delivered[0] is delivered[1]
