"""Event streams and polls seen from the other side, on a whole server."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

import httpx

from engine.types import Role
from server.serve import Running
from tests.server.gateway.conftest import Node


class Block(NamedTuple):
    """One block of a stream: a part that it has not is "" or None."""

    id: str
    event: str
    data: Any
    retry: str


class Source:
    """One open stream, read as an EventSource would."""

    def __init__(self, answer: httpx.Response) -> None:
        self.answer = answer
        self.last = ""
        """What it would come back with."""
        self._lines = answer.aiter_lines()

    async def block(self) -> Block | None:
        """The next block, None at the end."""
        found: dict[str, str] = {}
        async with asyncio.timeout(15):
            async for line in self._lines:
                if line:
                    name, _, value = line.partition(": ")
                    assert name in ("id", "event", "data", "retry") and name not in found, line
                    found[name] = value
                    continue
                self.last = found.get("id", self.last)
                data = json.loads(found["data"]) if "data" in found else None
                return Block(found.get("id", ""), found.get("event", ""), data, found.get("retry", ""))
        return None

    async def event(self) -> Block:
        """The next block with data."""
        while True:
            block = await self.block()
            assert block is not None, "the stream has ended"
            if block.data is not None:
                return block

    async def seqs(self, count: int) -> list[int]:
        """The seqs of the next ``count`` events."""
        return [(await self.event()).data["seq"] for _ in range(count)]

    async def ended(self) -> dict[str, Any]:
        """The code and reason with which the server ends it; {} where it was cut without a word."""
        told: dict[str, Any] = {}
        try:
            while (block := await self.block()) is not None:
                told = block.data if block.event == "close" else told
        except httpx.RemoteProtocolError:
            pass
        return told


class Site:
    """A server with a log to append to by hand, and connections to it."""

    def __init__(self, running: Running, http: httpx.AsyncClient) -> None:
        assert running.gateway is not None
        self.running = running
        self.gateway = running.gateway
        self.node = Node(running.engine, running.gateway, int(running.url.rpartition(":")[2]))
        self.http = http

    async def bearer(self, user: str, role: Role = "customer", **options: Any) -> dict[str, str]:
        """The header of an active account."""
        return {"Authorization": f"Bearer {await self.node.token(user, role, **options)}"}

    async def get(self, user: str, role: Role = "customer", **query: Any) -> httpx.Response:
        """One request for events."""
        return await self.http.get("/v1/events", params=query, headers=await self.bearer(user, role))

    async def poll(self, user: str, role: Role = "customer", **query: Any) -> dict[str, Any]:
        """One poll that is answered well."""
        answer = await self.get(user, role, **query)
        assert answer.status_code == 200, answer.text
        told: dict[str, Any] = answer.json()
        return told

    @asynccontextmanager
    async def source(
        self, user: str, role: Role = "customer", *, last: str = "", headers: dict[str, str] | None = None, **query: Any
    ) -> AsyncIterator[Source]:
        """An open stream, its first block read into ``.hello``."""
        sent = dict(headers if headers is not None else await self.bearer(user, role))
        sent |= {"Accept": "text/event-stream"} | ({"Last-Event-ID": last} if last else {})
        async with self.http.stream("GET", "/v1/events", params=query, headers=sent) as answer:
            assert answer.status_code == 200, await answer.aread()
            assert answer.headers["content-type"] == "text/event-stream"
            source = Source(answer)
            first = await source.event()
            assert first.event == "connect" and first.retry
            source.hello = first  # type: ignore[attr-defined]
            yield source


@asynccontextmanager
async def site_of(running: Running) -> AsyncIterator[Site]:
    """Connections to a server."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(base_url=running.url, timeout=30, trust_env=False, limits=limits) as http:
        yield Site(running, http)
