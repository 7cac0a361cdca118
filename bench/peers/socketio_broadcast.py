"""The same broadcast with python-socketio on uvicorn: one ``emit`` to all clients for each byte on the control
socket.

usage: python -m bench.peers.socketio_broadcast < the payload of one event (JSON)
Prints {"port":…, "control":…}. Only the WebSocket transport, no compression, uvloop: its fastest form.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
from typing import Any

import socketio
import uvicorn

EVENT = "announcement.bench"


async def _serve(payload: dict[str, Any]) -> None:
    sio = socketio.AsyncServer(async_mode="asgi", transports=["websocket"], ping_interval=3600)

    async def handle_control(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(4096):
            for _ in request:
                await sio.emit(EVENT, payload)

    controls = await asyncio.start_server(handle_control, "127.0.0.1", 0)
    listening = socket.create_server(("127.0.0.1", 0), backlog=4096)
    config = uvicorn.Config(
        socketio.ASGIApp(sio),
        log_level="warning",
        loop="none",
        lifespan="off",
        ws_per_message_deflate=False,
        ws_ping_interval=None,  # while another server is measured, nobody reads these sockets or answers their pings
    )
    where = {"port": listening.getsockname()[1], "control": controls.sockets[0].getsockname()[1]}
    print(json.dumps(where), flush=True)
    await uvicorn.Server(config).serve([listening])


def main() -> None:
    """Serve until the process is ended."""
    import uvloop

    uvloop.run(_serve(json.load(sys.stdin)))


if __name__ == "__main__":
    main()
