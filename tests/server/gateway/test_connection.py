"""The transport, byte by byte: it delivers whole messages, applies the rules of RFC 6455 and closes in an
orderly way.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from server.gateway.connection import MAX_FRAMES_PER_LOOP_TURN, MAX_REASON_BYTES, Connection, fit_reason
from server.gateway.frames import text_frame
from server.gateway.transport import ATTACH_EXTENSION
from tests.server.gateway.conftest import serve_app
from tests.support.wait import wait_until

MASK = b"\x01\x02\x03\x04"


def client_frame(payload: bytes, first_byte: int = 0x81, *, mask: bytes | None = MASK) -> bytes:
    """Return the bytes of a client's frame. ``first_byte`` is its first byte (FIN bit and opcode)."""
    size, bit = len(payload), 0x80 if mask else 0
    if size < 126:
        head = bytes((first_byte, bit | size))
    elif size < 65_536:
        head = bytes((first_byte, bit | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first_byte, bit | 127)) + size.to_bytes(8, "big")
    if not mask:
        return head + payload
    return head + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))


class EchoReceiver:
    """A receiver that sends each message back, and stores how the connection ended."""

    def __init__(self) -> None:
        self.connection: Connection | None = None
        self.ended: list[int] = []
        self.signs = 0

    def handle_message(self, data: bytes, binary: bool) -> None:
        assert self.connection
        out = text_frame(data)
        self.connection.transport.write(b"\x82" + out[1:] if binary else out)

    def pause(self) -> None: ...

    def resume(self) -> None: ...

    def note_alive(self) -> None:
        self.signs += 1

    def handle_end(self, code: int) -> None:
        self.ended.append(code)


class Peer:
    """The client of an echo server, which reads and writes raw bytes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, echo: EchoReceiver) -> None:
        self.reader, self.writer, self.echo = reader, writer, echo

    def send(self, data: bytes) -> None:
        """Write ``data`` to the socket."""
        self.writer.write(data)

    async def read(self, size: int) -> bytes:
        """Read exactly ``size`` bytes."""
        async with asyncio.timeout(5):
            return await self.reader.readexactly(size)

    async def read_rest(self) -> bytes:
        """Read all bytes until the server closes its side."""
        async with asyncio.timeout(5):
            return await self.reader.read()


UPGRADE_REQUEST = (
    b"GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@asynccontextmanager
async def connected_peer(early: bytes = b"") -> AsyncIterator[Peer]:
    """Open a WebSocket to an echo server. The bytes ``early`` arrive before the server accepts it."""
    echo = EchoReceiver()
    app_called = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        app_called.set()
        await wait_until(lambda: scope["extensions"][ATTACH_EXTENSION].__self__.early_bytes == early)
        await send({"type": "websocket.accept"})
        echo.connection = scope["extensions"][ATTACH_EXTENSION](echo)

    async with serve_app(app) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(UPGRADE_REQUEST)
        await app_called.wait()
        writer.write(early)
        await reader.readuntil(b"\r\n\r\n")
        yield Peer(reader, writer, echo)
        writer.close()


PROTOCOL_ERRORS = [
    pytest.param(client_frame(b"x", mask=None), 1002, id="not masked"),
    pytest.param(client_frame(b"x", 0xC1), 1002, id="reserved bit"),
    pytest.param(client_frame(b"x", 0x83), 1002, id="reserved opcode"),
    pytest.param(client_frame(b"x", 0x80), 1002, id="continuation of nothing"),
    pytest.param(client_frame(b"x", 0x01) + client_frame(b"y"), 1002, id="new message inside a fragmented one"),
    pytest.param(client_frame(b"x", 0x09), 1002, id="fragmented ping"),
    pytest.param(client_frame(b"x" * 126, 0x89), 1002, id="long ping"),
    pytest.param(client_frame(b"\x03", 0x88), 1002, id="close of one byte"),
    pytest.param(client_frame(b"\xff"), 1007, id="not UTF-8"),
    pytest.param(client_frame(b"\xc3", 0x01) + client_frame(b"\x28", 0x80), 1007, id="not UTF-8 across fragments"),
    pytest.param(client_frame(b"\xff", 0x01), 1007, id="not UTF-8 in a first fragment"),
    pytest.param(client_frame(b"\xc3"), 1007, id="half a letter"),
    pytest.param(client_frame(b"x" * 65_537), 1009, id="too big"),
    pytest.param(client_frame(b"x" * 40_000, 0x01) + client_frame(b"x" * 40_000, 0x80), 1009, id="too big in parts"),
    pytest.param(b"\x81\xff" + b"\x7f" * 8 + b"junk", 1009, id="endless, told by its head alone"),
]


@pytest.mark.parametrize(("sent", "code"), PROTOCOL_ERRORS)
async def test_protocol_errors_close_with_their_code(sent: bytes, code: int) -> None:
    """A violation of the protocol closes the socket with its code, which is reported once. The client can read the
    close frame, because the connection is not reset.
    """
    async with connected_peer() as client:
        client.send(sent + client_frame(b"after") * 1000)
        answer = await client.read_rest()
        assert (answer[0], int.from_bytes(answer[2:4], "big")) == (0x88, code)
        assert answer[1] == len(answer) - 2
        assert client.echo.ended == [code]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536])
@pytest.mark.parametrize("first", [0x81, 0x82])
async def test_every_length(size: int, first: int) -> None:
    """Text and binary messages of each length format (7, 16 and 64 bits) are echoed."""
    async with connected_peer() as client:
        client.send(client_frame(b"a" * size, first))
        expected = client_frame(b"a" * size, first, mask=None)
        assert await client.read(len(expected)) == expected


async def test_byte_by_byte() -> None:
    """Messages that arrive one byte at a time are read correctly."""
    async with connected_peer() as client:
        for byte in client_frame("grüße".encode()) + client_frame(b"x" * 200, 0x82) + client_frame(b"", 0x89):
            client.send(bytes((byte,)))
            await client.writer.drain()
            await asyncio.sleep(0)
        expected = text_frame("grüße".encode()) + client_frame(b"x" * 200, 0x82, mask=None) + b"\x8a\x00"
        assert await client.read(len(expected)) == expected


async def test_many_messages_in_one_read() -> None:
    """Many messages in one read are delivered one by one and in order."""
    async with connected_peer() as client:
        messages = [str(number).encode() for number in range(5_000)]
        client.send(b"".join(map(client_frame, messages)))
        expected = b"".join(map(text_frame, messages))
        assert await client.read(len(expected)) == expected


async def test_fragments_with_a_ping_between() -> None:
    """The fragments of a message are delivered as one message. A ping between two fragments is answered at once."""
    async with connected_peer() as client:
        client.send(client_frame("grü".encode()[:3], 0x01) + client_frame(b"?", 0x89))
        assert await client.read(3) == b"\x8a\x01?"
        client.send(
            client_frame("grü".encode()[3:], 0x00)
            + client_frame(b"", 0x00)
            + client_frame(b"!", 0x80)
            + client_frame(b"next")
        )
        expected = text_frame("grü!".encode()) + text_frame(b"next")
        assert await client.read(len(expected)) == expected
        assert client.echo.signs == 1


async def test_frames_sent_before_the_answer() -> None:
    """Frames that a client sends before it is accepted are delivered afterwards."""
    async with connected_peer(client_frame(b"early")) as client:
        assert await client.read(7) == text_frame(b"early")


async def test_close_is_echoed() -> None:
    """A close frame of the client is answered with the same code, and later frames of the client are ignored."""
    async with connected_peer() as client:
        client.send(client_frame(b"\x0b\xb8bye", 0x88) + client_frame(b"late"))
        assert await client.read_rest() == b"\x88\x05\x0b\xb8bye"
        assert client.echo.ended == [3000]


async def test_nothing_is_read_after_our_close_frame() -> None:
    """After the server's close frame, messages of the client are ignored. The client's close frame ends the
    connection.
    """
    async with connected_peer() as client:
        assert client.echo.connection
        client.echo.connection.close(4001, "too slow")
        assert await client.read(12) == b"\x88\x0a\x0f\xa1too slow"
        client.send(client_frame(b"late") + client_frame(b"\x0f\xa1", 0x88))
        assert await client.read_rest() == b""
        assert client.echo.ended == []


async def test_a_lost_connection_is_reported_as_1006() -> None:
    """A connection that ends without a close frame is reported with the code 1006."""
    async with connected_peer() as client:
        client.send(client_frame(b"one"))
        await client.read(5)
        client.writer.transport.abort()
        await wait_until(lambda: client.echo.ended)
        assert client.echo.ended == [1006]


async def test_a_flood_of_small_frames_is_read_a_share_at_a_time() -> None:
    """At most ``MAX_FRAMES_PER_LOOP_TURN`` frames are processed in one turn of the event loop, so that other
    connections are served. Until all are processed nothing more is read from the socket, and no frame is lost.
    """
    async with connected_peer() as client:
        assert client.echo.connection
        client.echo.connection.data_received(client_frame(b"", 0x89) * 1_000 + client_frame(b"last"))
        assert client.echo.signs == MAX_FRAMES_PER_LOOP_TURN
        assert not client.echo.connection.transport.is_reading()
        assert await client.read(2_000 + 6) == b"\x8a\x00" * 1_000 + text_frame(b"last")
        assert client.echo.connection.transport.is_reading()


async def test_reading_remains_paused_after_a_flood() -> None:
    """Reading that a session has paused remains paused when a flood of frames ends. If the session resumes reading
    during the flood, reading starts after the flood.
    """
    async with connected_peer() as client:
        assert client.echo.connection
        connection = client.echo.connection
        connection.pause_reading()
        connection.data_received(client_frame(b"", 0x89) * 300)
        connection.resume_reading()
        assert not connection.transport.is_reading()
        connection.pause_reading()
        await wait_until(lambda: client.echo.signs == 300)
        assert not connection.transport.is_reading()
        connection.resume_reading()
        assert connection.transport.is_reading()


async def test_empty_fragments_are_not_stored() -> None:
    """The empty fragments of an endless message are not stored."""
    async with connected_peer() as client:
        assert client.echo.connection
        connection = client.echo.connection
        client.send(client_frame(b"a", 0x01) + client_frame(b"", 0x00) * 2_000 + client_frame(b"", 0x89))
        assert await client.read(2) == b"\x8a\x00"
        assert connection._fragments is not None
        assert connection._fragments[1] == [b"a"]
        client.send(client_frame(b"b", 0x80))
        assert await client.read(4) == text_frame(b"ab")


@pytest.mark.parametrize("reason", ["", "draining", "ж" * 62, "a" + "ж" * 200, "\U0001f4a5" * 40, "a\ud800b"])
def test_a_close_reason_fits_its_frame(reason: str) -> None:
    """A close reason is cut to at most 123 bytes and only between characters. A shorter reason is not cut."""
    shortened = fit_reason(reason)
    size = len(shortened.encode())
    assert size <= MAX_REASON_BYTES and (shortened == reason or size > MAX_REASON_BYTES - 4 or "\ud800" in reason)
    assert reason.startswith(shortened) or "\ud800" in reason
