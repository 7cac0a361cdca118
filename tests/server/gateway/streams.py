"""Clients of event streams and polls, for tests on a whole server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

from engine.types import Role
from server.serve import RunningServer
from tests.server.gateway.conftest import Node


class SseBlock(NamedTuple):
    """One block of an event stream. A missing part is "", missing ``data`` is None."""

    id: str
    event: str
    data: Any
    retry: str


class EventStream:
    """One open event stream, parsed as a browser's EventSource does."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.last = ""
        """The id of the last block: the Last-Event-ID of a reconnect."""
        self._lines = answer.aiter_lines()

    async def next_block(self) -> SseBlock | None:
        """Return the next block, or None at the end of the stream."""
        fields: dict[str, str] = {}
        async with asyncio.timeout(15):
            async for line in self._lines:
                if line:
                    name, _, value = line.partition(": ")
                    assert name in ("id", "event", "data", "retry") and name not in fields, line
                    fields[name] = value
                    continue
                self.last = fields.get("id", self.last)
                data = json.loads(fields["data"]) if "data" in fields else None
                return SseBlock(fields.get("id", ""), fields.get("event", ""), data, fields.get("retry", ""))
        return None

    async def next_event(self) -> SseBlock:
        """Return the next block that has data."""
        while True:
            block = await self.next_block()
            assert block is not None, "the stream has ended"
            if block.data is not None:
                return block

    async def next_seqs(self, count: int) -> list[int]:
        """Return the seqs of the next ``count`` events."""
        return [(await self.next_event()).data["seq"] for _ in range(count)]

    async def close_data(self) -> dict[str, Any]:
        """Read to the end of the stream. Return the data of the ``close`` event (code and reason), or {} if the stream
        was cut without one.
        """
        data: dict[str, Any] = {}
        try:
            while (block := await self.next_block()) is not None:
                data = block.data if block.event == "close" else data
        except httpx.RemoteProtocolError:
            pass
        return data


class EventServer:
    """A running server, with methods that append to its log and open streams and polls."""

    def __init__(self, running: RunningServer, http: httpx.AsyncClient) -> None:
        assert running.gateway is not None
        self.running = running
        self.gateway = running.gateway
        self.node = Node(running.engine, running.gateway, int(running.url.rpartition(":")[2]))
        self.http = http

    async def bearer_header(self, user: str, role: Role = "customer", **options: Any) -> dict[str, str]:
        """Create an active account for ``user`` and return its Authorization header."""
        return {"Authorization": f"Bearer {await self.node.token(user, role, **options)}"}

    async def request_events(self, user: str, role: Role = "customer", **query: Any) -> httpx.Response:
        """Send ``GET /v1/events`` as ``user`` and return the response."""
        return await self.http.get("/v1/events", params=query, headers=await self.bearer_header(user, role))

    async def poll(self, user: str, role: Role = "customer", **query: Any) -> dict[str, Any]:
        """Send one poll as ``user``, assert that its status is 200, and return its body."""
        answer = await self.request_events(user, role, **query)
        assert answer.status_code == 200, answer.text
        reply: dict[str, Any] = answer.json()
        return reply

    @asynccontextmanager
    async def open_stream(
        self, user: str, role: Role = "customer", *, last: str = "", headers: dict[str, str] | None = None, **query: Any
    ) -> AsyncIterator[EventStream]:
        """Open a stream as ``user``. Its first block, the ``connect`` event, is stored in ``.hello``."""
        request_headers = dict(headers if headers is not None else await self.bearer_header(user, role))
        request_headers |= {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        async with self.http.stream("GET", "/v1/events", params=query, headers=request_headers) as answer:
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"] == "text/event-stream"
            source = EventStream(answer)
            first = await source.next_event()
            assert first.event == "connect" and first.retry
            source.hello = first  # type: ignore[attr-defined]
            yield source


@asynccontextmanager
async def open_event_server(running: RunningServer) -> AsyncIterator[EventServer]:
    """Return an EventServer for a running server."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=running.url, timeout=30, trust_env=False, limits=limits) as http:
        yield EventServer(running, http)
