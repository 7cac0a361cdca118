"""Answer the requests to ``/demo/…``, which the demo's server relays to the demo's process
(server/web/demo_relay.py).
"""

from __future__ import annotations

import asyncio
import hmac
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from callout_client import Refusal, Unreachable
from server.demo.guard import refusal_of
from server.web.demo_relay import LINK_FILE, MAX_ANSWER_BYTES, Answer, DemoLink, Visit


class Refused(Exception):
    """Raised if the demo refuses a request. ``code`` is a code of the API's errors."""

    def __init__(self, code: str, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.code, self.text, self.retry_after = code, text, retry_after


class DemoRoute(NamedTuple):
    """The function that answers a method and path. ``is_for_all``: the guard is not asked, because the answer shows
    nothing private and changes nothing.
    """

    answer: Callable[[Visit], Awaitable[Answer]]
    is_for_all: bool = False


def json_answer(content: Any) -> Answer:
    """Return ``content`` as an answer."""
    return Answer(msgspec.json.encode(content))


class DemoControl:
    """The listener for the server's relay. ``routes`` are by method and path; the demo adds them at its start.
    ``real_peers`` has the addresses of callers behind a forwarder, by the port of the forwarder's connection.
    """

    def __init__(self, key: str, *, is_open: bool) -> None:
        self.routes: dict[tuple[str, str], DemoRoute] = {}
        self.real_peers: Mapping[int, str] = {}
        self._key, self._is_open = key, is_open

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request of the relay."""
        with suppress(OSError, msgspec.DecodeError, ValueError):
            visit = msgspec.json.decode(await reader.readline(), type=Visit)
            if hmac.compare_digest(visit.key.encode(), self._key.encode()):
                writer.write(msgspec.json.encode(await self._answer(visit)) + b"\n")
                await writer.drain()
        writer.close()

    async def _answer(self, visit: Visit) -> Answer:
        route = self.routes.get((visit.method, visit.path))
        if route is None:
            return Answer(refused="not_found", text="No such route, or the demo still starts")
        peer = self.real_peers.get(visit.peer[1], visit.peer[0])
        if not route.is_for_all and (why := refusal_of(visit, peer, is_open=self._is_open)):
            return Answer(refused="forbidden", text=why)
        try:
            return await route.answer(visit)
        except Refused as refused:
            return Answer(refused=refused.code, text=refused.text, retry_after=refused.retry_after)
        except (Refusal, Unreachable) as failure:
            return Answer(refused="unavailable", text=str(failure))


@asynccontextmanager
async def open_control(data: Path, *, is_open: bool) -> AsyncIterator[DemoControl]:
    """Listen for the relay while the block runs. The link file in ``data`` names the port and a random key. Call this
    when the server of the demo holds ``data``: the link of another demo there would be lost.
    """
    link = data / LINK_FILE
    key = secrets.token_urlsafe(24)
    control = DemoControl(key, is_open=is_open)
    server = await asyncio.start_server(control.serve, "127.0.0.1", 0, limit=MAX_ANSWER_BYTES)
    try:
        link.unlink(missing_ok=True)
        link.touch(mode=0o600)
        link.write_bytes(msgspec.json.encode(DemoLink(server.sockets[0].getsockname()[1], key)))
        yield control
    finally:
        link.unlink(missing_ok=True)
        server.close()
