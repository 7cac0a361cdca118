"""A broadcast is written to the sockets directly by one call of compiled code, or by the asyncio transports: the
clients see no difference."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from engine.events import Event
from engine.types import DEFAULT_ZONE
from server.gateway import hub
from server.gateway.broadcast_send import COMPILED_MODULE, load_send, plain_descriptor, send_by_transports
from server.gateway.send_buffer import SendBuffer
from server.gateway.session import Session
from tests.server.gateway.conftest import Client, Node
from tests.server.gateway.test_slow import small_receive_socket, stop_reading
from tests.support.wait import wait_until

BIG_DATA = b'{"text":"%s"}' % (b"x" * 16_000)


@pytest.fixture(autouse=True)
def small_broadcasts(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event to one session counts as a broadcast here."""
    monkeypatch.setattr(hub, "MIN_BROADCAST_SOCKETS", 1)


def session_of(node: Node, client: Client) -> Session:
    """Return the session of a connected client."""
    return next(one for one in node.gateway.sessions if one.id == client.hello["session"])  # type: ignore[attr-defined]


async def broadcast(node: Node, seq: int, data: bytes = b"{}") -> None:
    """Deliver an event to all customers, and write it."""
    event = Event(DEFAULT_ZONE, seq, "test.event", ("role:customer",), 0, "engine", "", data)
    node.gateway.relay.fan_out(event, f"zone:{DEFAULT_ZONE}")
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def test_without_the_compiled_module_the_transports_send(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the compiled module is missing or cannot be loaded, a broadcast is written by the transports."""
    monkeypatch.setitem(sys.modules, COMPILED_MODULE, None)
    assert load_send() is send_by_transports


def test_the_compiled_module_refuses_other_objects(compiled_module: ModuleType) -> None:
    """The compiled module accepts only a list of at most 256 sessions, and only bytes to send."""
    send_frame, session = compiled_module.send_frame, SendBuffer("s")
    for wrong in (([object()], b"x"), ([session] * 257, b"x"), ((session,), b"x"), ([session], "x"), ([session],)):
        with pytest.raises(TypeError):
            send_frame(*wrong)
    assert session.written_pushes == 0


@asynccontextmanager
async def transport_to(client: socket.socket, **tls: Any) -> AsyncIterator[asyncio.Transport]:
    """Accept the connection of ``client`` and yield the server's transport."""
    made: asyncio.Future[asyncio.Transport] = asyncio.get_running_loop().create_future()

    class Acceptor(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            made.set_result(cast("asyncio.Transport", transport))

    server = await asyncio.get_running_loop().create_server(Acceptor, "127.0.0.1", 0, **tls)
    async with server:
        client.connect(server.sockets[0].getsockname())
        if tls:
            wrapped = await asyncio.to_thread(_client_context().wrap_socket, client)
        transport = await made
        try:
            yield transport
        finally:
            transport.abort()
            if tls:
                wrapped.close()


def _client_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


def _server_context(folder: Path) -> ssl.SSLContext:
    key, name, now = ec.generate_private_key(ec.SECP256R1()), x509.Name([]), datetime.now(UTC)
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(now).not_valid_after(now + timedelta(days=1))
    pem = serialization.Encoding.PEM
    (folder / "cert.pem").write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(pem))
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (folder / "key.pem").write_bytes(key.private_bytes(pem, *plain))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return context


async def _direct_write_descriptors(folder: Path) -> tuple[int, int, int, int]:
    """Return the socket descriptors to which a broadcast may write directly: of a TLS transport, of a transport with
    unsent bytes, and of a plain one. The fourth number is the real descriptor of the plain one.
    """
    async with AsyncExitStack() as stack:
        clients = [stack.enter_context(socket.socket()) for _ in range(3)]
        encrypted = await stack.enter_async_context(transport_to(clients[0], ssl=_server_context(folder)))
        full = await stack.enter_async_context(transport_to(clients[1]))
        full.write(bytes(20_000_000))
        plain = await stack.enter_async_context(transport_to(clients[2]))
        own = plain.get_extra_info("socket").fileno()
        return plain_descriptor(encrypted), plain_descriptor(full), plain_descriptor(plain), own


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run], ids=["asyncio", "uvloop"])
async def test_only_an_empty_plain_transport_may_be_passed(run: Callable[[Any], Any], tmp_path: Path) -> None:
    """A broadcast must not write directly to the socket of a transport that encrypts or that has unsent bytes."""
    encrypted, full, plain, own = await asyncio.to_thread(lambda: run(_direct_write_descriptors(tmp_path)))
    assert (encrypted, full) == (-1, -1)
    assert plain == own >= 0


@pytest.mark.parametrize("late_call", [Session.flush, Session.resume], ids=["flush", "resume"])
async def test_a_session_that_ended_has_no_socket(late_call: Callable[[Session], None], node: Node) -> None:
    """After the end of a session no call writes anything for it, neither by its transport nor directly to its socket,
    because another connection may have its descriptor by then.
    """
    async with node.connect("ann") as client, node.connect("bob") as other:
        ann, written = session_of(node, client), list[bytes]()
        ann.write = written.append
        assert ann.descriptor >= 0
        node.gateway.relay.fan_out(
            Event(DEFAULT_ZONE, 1, "test.event", ("role:customer",), 0, "engine", "", b"{}"), f"zone:{DEFAULT_ZONE}"
        )
        ann.handle_end(1006)
        late_call(ann)
        assert ann.descriptor == -1
        assert await other.next_seqs(1) == [1]
        assert written == []


@pytest.mark.usefixtures("each_sender")
async def test_a_client_that_stops_reading_receives_every_byte(node: Node) -> None:
    """A client stops reading in the middle of broadcasts. When it reads again, it has received every broadcast once and
    in order, also one of which its socket had accepted only a part.
    """
    async with node.open_socket(sock=small_receive_socket(node), max_queue=None) as slow, node.connect("bob") as quick:
        slow.hello = (await slow.request(op="connect", token=await node.token("ann")))["ok"]  # type: ignore[attr-defined]
        ann = session_of(node, slow)
        await stop_reading(slow)
        seq = 0
        while not ann.has_unsent:
            await broadcast(node, seq := seq + 1, BIG_DATA)
        for _ in range(5):
            await broadcast(node, seq := seq + 1, BIG_DATA)
        assert ann in node.gateway.sessions_with_backlog
        slow.socket.transport.resume_reading()
        assert await slow.next_seqs(seq) == await quick.next_seqs(seq) == [*range(1, seq + 1)]
        await wait_until(lambda: ann.is_direct)
        await broadcast(node, seq + 1)
        assert await slow.next_seqs(1) == [seq + 1]


@pytest.mark.usefixtures("each_sender")
async def test_a_connection_that_was_reset_ends(node: Node) -> None:
    """If a broadcast finds that a connection was reset, the session ends, and the other clients receive the
    broadcast.
    """
    async with node.connect("ann") as lost, node.connect("bob") as other:
        sock = lost.socket.transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        lost.socket.transport.abort()
        await asyncio.sleep(0)
        await broadcast(node, 1)
        await wait_until(lambda: node.gateway.counters.closes_by_code[1006] == 1)
        assert await other.next_seqs(1) == [1]
        await broadcast(node, 2)
        assert await other.next_seqs(1) == [2]


@pytest.mark.usefixtures("each_sender")
async def test_a_session_without_a_socket_is_written_to_by_its_transport(node: Node) -> None:
    """A session to whose socket a broadcast must not write directly receives the broadcast by its transport."""
    async with node.connect("ann") as client:
        session_of(node, client).descriptor = -1
        await broadcast(node, 1)
        assert await client.next_seqs(1) == [1]


async def test_the_compiled_module_passes_the_transports(
    node: Node, compiled_module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The compiled module does not use the transport of a session whose socket accepts the frame. The counters are
    those of a write by the transport.
    """
    monkeypatch.setitem(sys.modules, COMPILED_MODULE, compiled_module)
    monkeypatch.setattr(node.gateway.hub, "_send", load_send())
    async with node.connect("ann") as client:
        ann, counters = session_of(node, client), node.gateway.counters
        frames, writes, size = counters.frames_out, counters.writes, counters.bytes_out
        ann.write = cast("Any", None)
        await broadcast(node, 1)
        assert await client.next_seqs(1) == [1]
        assert (counters.frames_out, counters.writes) == (frames + 1, writes + 1)
        assert counters.bytes_out > size + 50
        assert ann.push_count == 1
