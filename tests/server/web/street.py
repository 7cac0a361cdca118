"""The network between a browser and a server, with the accidents that tests want."""

from __future__ import annotations

import asyncio

from tests.support.proxy import Proxy


class Street(Proxy):
    """A proxy in front of the server. ``blocked``: it lets no WebSocket through, as some company's does."""

    blocked = False

    @property
    def origin(self) -> str:
        """Where the browser finds the server."""
        return self.url.replace("redis://", "http://")

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, replies: bool) -> None:
        if not replies:
            head = await reader.read(65536)
            if not head or (self.blocked and head.startswith(b"GET /v1/ws")):
                return
            writer.write(head)
        await super()._pump(reader, writer, replies=replies)
