"""A real HTTP receiver of pushes. The test decides with which status it responds."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import msgspec

StatusOf = Callable[[int], int | None]
"""Returns the status of a response, given the number of earlier requests. None means that no response is sent."""


@dataclass
class PushReceiver:
    """An HTTP server that records the bodies and the signatures of all requests, in order."""

    status_of: StatusOf
    port: int = 0
    bodies: list[bytes] = field(default_factory=list)
    signatures: list[str] = field(default_factory=list)
    open_requests: int = 0
    max_open_requests: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/push?app=1"

    @property
    def messages(self) -> list[dict[str, Any]]:
        """Return the decoded bodies."""
        return [msgspec.json.decode(body) for body in self.bodies]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until the client closes it."""
        try:
            while await self._serve_request(reader, writer):
                pass
        finally:
            writer.close()

    async def _serve_request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        except (asyncio.IncompleteReadError, ConnectionError):
            return False
        assert head[0] == "POST /push?app=1 HTTP/1.1"
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:])}
        body = await reader.readexactly(int(headers["content-length"]))
        number = len(self.bodies)
        self.bodies.append(body)
        self.signatures.append(headers.get("callout-signature", ""))
        assert headers["content-type"] == "application/json"
        self.open_requests += 1
        self.max_open_requests = max(self.max_open_requests, self.open_requests)
        try:
            status = self.status_of(number)
            if status is None:
                await reader.read()
                return False
            await asyncio.sleep(0)
        finally:
            self.open_requests -= 1
        writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 0\r\n\r\n" % status)
        return True


@asynccontextmanager
async def running_receiver(status_of: StatusOf = lambda _: 200) -> AsyncIterator[PushReceiver]:
    """Run a receiver on its own port while the block runs."""
    receiver = PushReceiver(status_of)
    server = await asyncio.start_server(receiver.serve, "127.0.0.1", 0)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
