"""A continuous broadcast to many clients, some of which never read: their memory is bounded, and all other clients
receive every event.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import time
from contextlib import AsyncExitStack
from typing import Any

import pytest

from server.gateway.send_buffer import MAX_QUEUE_BYTES
from tests.server.gateway.conftest import Node
from tests.support.wait import wait_until

READING_CLIENTS, SILENT_CLIENTS, DURATION_S = 290, 10, 5.0
MIN_INTERVAL_S, EVENT_BYTES = 0.02, 16_000
"""Fifty events a second, 0.8 MB/s to each client: the limit of a send buffer is reached in about two seconds."""


class Reader(asyncio.Protocol):
    """A client that stores the seq of each event it receives. It parses as little as possible, because the server runs
    in the same event loop.
    """

    def __init__(self, token: str) -> None:
        self.seqs: list[int] = []
        self.joined = False
        self.lost = False
        self._token = token
        self._data = bytearray()
        self._upgraded = False

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(
            b"GET /v1/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Protocol: callout.v1.json\r\n\r\n"
        )

    def data_received(self, data: bytes) -> None:
        self._data += data
        if not self._upgraded:
            end = self._data.find(b"\r\n\r\n")
            if end < 0:
                return
            del self._data[: end + 4]
            self._upgraded = True
            hello = json.dumps({"id": 1, "op": "connect", "token": self._token}).encode()
            self.transport.write(b"\x81\xfe" + struct.pack("!H", len(hello)) + b"\0\0\0\0" + hello)
        self._parse_frames()

    def _parse_frames(self) -> None:
        """Store the seq of each complete event frame, and note the connect reply."""
        data = self._data
        while len(data) >= 4:
            size, head = data[1], 2
            if size == 126:
                size, head = int.from_bytes(data[2:4], "big"), 4
            if len(data) < head + size:
                return
            start = bytes(data[head : head + 120])
            if b'"seq":' in start and start.startswith(b'{"type"'):
                self.seqs.append(int(start.partition(b'"seq":')[2].partition(b",")[0]))
            elif start.startswith(b'{"id":1'):
                self.joined = True
            del data[: head + size]

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True


async def open_reader(stack: AsyncExitStack, node: Node, token: str, *, small: bool) -> Reader:
    """Connect a client and return its reader. ``small``: give the socket a receive buffer of 4 KiB, so that the server
    notices soon when the client does not read.
    """
    sock = socket.socket()
    if small:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    sock.connect(("127.0.0.1", node.port))
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, reader = await loop.create_connection(lambda: Reader(token), sock=sock)
    stack.callback(transport.abort)
    return reader


@pytest.mark.usefixtures("each_sender")
async def test_clients_that_never_read_cost_bounded_memory(node: Node) -> None:
    """During a continuous broadcast, clients that never read use no more memory than the limit and are closed with
    4001. All other clients receive every event once and in order.
    """
    async with AsyncExitStack() as stack:
        tokens = [await node.token(f"u{number}") for number in range(READING_CLIENTS + SILENT_CLIENTS)]
        readers = [await open_reader(stack, node, token, small=False) for token in tokens[:READING_CLIENTS]]
        stalled = [await open_reader(stack, node, token, small=True) for token in tokens[READING_CLIENTS:]]
        await wait_until(lambda: all(one.joined for one in [*readers, *stalled]))
        for one in stalled:
            one.transport.pause_reading()
        slow = [s for s in node.gateway.sessions if int(s.caller.id[1:]) >= READING_CLIENTS]
        last, peak_bytes, until = 0, 0, time.monotonic() + DURATION_S
        text = '{"text":"' + "x" * EVENT_BYTES + '"}'
        while time.monotonic() < until:
            last = await node.append("role:customer", data=text)
            await asyncio.sleep(MIN_INTERVAL_S)
            buffered_bytes = [s.waiting_bytes + s._connection.transport.get_write_buffer_size() for s in slow]
            peak_bytes = max(peak_bytes, *buffered_bytes)
        await wait_until(
            lambda: all(one.seqs and one.seqs[-1] == last for one in readers), what="the last event at every reader"
        )
        await wait_until(
            lambda: node.gateway.counters.closes_by_code[4001] == SILENT_CLIENTS,
            what="the close of all clients that never read",
        )
        assert all(one.seqs == list(range(1, last + 1)) for one in readers)
        assert node.gateway.counters.closes_by_code == {4001: SILENT_CLIENTS}
        assert peak_bytes <= MAX_QUEUE_BYTES + 3 * EVENT_BYTES + 64 * 1024
        assert not any(one.lost for one in readers)
        assert sum(s.waiting_bytes for s in slow) == 0
