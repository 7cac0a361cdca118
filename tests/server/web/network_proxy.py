"""A proxy between a browser and a server that can cut connections and block WebSockets."""

from __future__ import annotations

import asyncio

from tests.support.proxy import Direction, Proxy


class NetworkProxy(Proxy):
    """A proxy in front of the server. If ``blocked`` is True, it lets no WebSocket through, as some company
    proxies do.
    """

    blocked = False

    @property
    def origin(self) -> str:
        """Return the URL of this proxy, at which the browser opens the pages of the server."""
        return self.url.replace("redis://", "http://")

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, direction: Direction) -> None:
        if direction != "replies":
            head = await reader.read(65536)
            if not head or (self.blocked and head.startswith(b"GET /v1/ws")):
                return
            writer.write(head)
        await super()._forward(reader, writer, direction)
