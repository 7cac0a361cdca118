"""A gateway on a real Valkey, with WebSocket clients and a log to which a test appends events."""

from __future__ import annotations

import asyncio
import importlib.util
import itertools
import json
import os
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import uvicorn
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from engine.process.settings import Settings
from engine.process.signer import sign_token
from engine.runtime import Engine
from engine.startup import open_engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, Principal, Role, UserId, Zone
from hatch_build import MODULE, compile_module
from server.gateway.broadcast_send import COMPILED_MODULE
from server.gateway.gateway import Gateway
from server.gateway.socket_endpoint import SocketEndpoint
from server.gateway.transport import CalloutWebSocket
from server.http.http_protocol import CalloutHTTP
from tests.support import live_accounts
from tests.support.wait import wait_until

ROOT = Path(__file__).resolve().parents[3]
JSON_SUBPROTOCOL = "callout.v1.json"

APPEND_SCRIPT = """
local meta, log = KEYS[1], KEYS[2]
local first, times = tonumber(redis.call('HGET', meta, 'seq') or '0'), tonumber(ARGV[1])
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
for n = 1, times do
  redis.call('XADD', log, string.format('%.0f-0', first + n), 'type', ARGV[2], 'to', ARGV[3], 'at', now,
    'actor', 'engine', 'bp', '', 'data', string.gsub(ARGV[4], '%%N', tostring(n)), 'cause', '')
end
redis.call('HSET', meta, 'seq', first + times)
return first + times
"""


class Client:
    """One WebSocket, seen from the client."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.pushes: list[dict[str, Any]] = []
        self._ids = itertools.count(1)

    async def send(self, message: Any) -> None:
        """Send ``message``: text and bytes unchanged, any other value as JSON."""
        await self.socket.send(message if isinstance(message, (str, bytes)) else json.dumps(message))

    async def receive(self) -> dict[str, Any]:
        """Return the next message that is neither a head nor a ping. Each ping that arrives first is answered."""
        while True:
            async with asyncio.timeout(10):
                message: dict[str, Any] = json.loads(await self.socket.recv())
            if not message:
                await self.socket.send("{}")
            elif "epoch" not in message:
                return message

    async def request(self, **message: Any) -> dict[str, Any]:
        """Send a message with an id and return its reply. Pushes that arrive before the reply are appended to
        ``pushes``.
        """
        message_id = next(self._ids)
        await self.send({"id": message_id, **message})
        while True:
            reply = await self.receive()
            if reply.get("id") == message_id:
                return reply
            self.pushes.append(reply)

    async def next_push(self) -> dict[str, Any]:
        """Return the next push. The oldest push in ``pushes`` is returned first."""
        return self.pushes.pop(0) if self.pushes else await self.receive()

    async def next_seqs(self, count: int) -> list[int]:
        """Return the seqs of the next ``count`` pushes."""
        return [(await self.next_push())["seq"] for _ in range(count)]

    async def wait_for_close(self) -> int:
        """Wait until the server closes the socket and return the close code. Messages that arrive before are
        ignored.
        """
        async with asyncio.timeout(15):
            try:
                while True:
                    await self.socket.recv()
            except ConnectionClosed as end:
                return end.rcvd.code if end.rcvd else 1006


class Node:
    """One running gateway, with its engine and its port."""

    def __init__(self, engine: Engine, gateway: Gateway, port: int) -> None:
        self.engine = engine
        self.gateway = gateway
        self.port = port
        self.url = f"ws://127.0.0.1:{port}/v1/ws"

    async def token(self, user: str, role: Role = "customer", *, expires_s: float = 3600) -> str:
        """Create an active account for ``user`` and return an access token. A negative ``expires_s`` makes an expired
        token.
        """
        await live_accounts.put_account(self.engine, user, role)
        return sign_token(self.engine.signer, UserId(user), role, expires_s=expires_s)

    async def append(
        self, to: str, *, times: int = 1, kind: str = "test.event", data: str = '{"n":%N}', zone: str = "main"
    ) -> int:
        """Append ``times`` events to the zone's log, as a script does. Return the last seq. ``%N`` in ``data`` becomes
        the number of the event, from 1.
        """
        last = 0
        for start in range(0, times, 5000):
            count = min(5000, times - start)
            names = [keys.zone_meta(Zone(zone)), keys.log(Zone(zone))]
            last = int(await self.engine.store.command("EVAL", APPEND_SCRIPT, 2, *names, count, kind, to, data))
        return last

    async def wait_until_relayed(self, seq: int, zone: str = "main") -> None:
        """Wait until the gateway's relay has delivered the event ``seq`` to the sessions."""
        tails = self.gateway.relay.tails
        await wait_until(lambda: tails[Zone(zone)].cursor >= seq, within_s=30, what="the relay")

    @asynccontextmanager
    async def open_socket(self, **options: Any) -> AsyncIterator[Client]:
        """Open a socket that has not sent ``connect`` yet."""
        options = {
            "subprotocols": [JSON_SUBPROTOCOL],
            "compression": None,
            "max_size": None,
            "close_timeout": 1,
        } | options
        async with connect(options.pop("url", self.url), **options) as socket:
            yield Client(socket)

    @asynccontextmanager
    async def connect(self, user: str, role: Role = "customer", **hello: Any) -> AsyncIterator[Client]:
        """Open a socket of ``user`` and send ``connect``. The reply is stored in ``client.hello``."""
        token = await self.token(user, role)
        async with self.open_socket() as client:
            reply = await client.request(op="connect", token=token, **hello)
            client.hello = reply["ok"]  # type: ignore[attr-defined]
            yield client


@contextmanager
def listening_socket() -> Iterator[socket.socket]:
    """Open a listening socket with the options of the real server. Each connection has a small send buffer."""
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.bind(("127.0.0.1", 0))
        sock.listen(512)
        yield sock


@asynccontextmanager
async def serve_app(app: Any) -> AsyncIterator[int]:
    """Run ``app`` with uvicorn and the server's own protocols. Yield the port."""
    config = uvicorn.Config(
        app,
        interface="asgi3",
        http=CalloutHTTP,
        ws=CalloutWebSocket,
        ws_ping_interval=None,
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
    )
    server = uvicorn.Server(config)
    with listening_socket() as sock:
        server.config.load()
        server.lifespan = config.lifespan_class(config)
        await server.startup([sock])
        try:
            yield sock.getsockname()[1]
        finally:
            server.force_exit = True
            await server.shutdown([sock])


@asynccontextmanager
async def running_node(settings: Settings) -> AsyncIterator[Node]:
    """Run a gateway with these settings, and wait until its relay is connected."""
    os.makedirs(settings.data, exist_ok=True)
    async with AsyncExitStack() as stack:
        engine = await stack.enter_async_context(open_engine(settings))
        gateway = Gateway(engine)
        await gateway.start()
        stack.push_async_callback(gateway.stop)
        port = await stack.enter_async_context(serve_app(SocketEndpoint(gateway)))
        await wait_until(lambda: not gateway.relay.is_disconnected)
        yield Node(engine, gateway, port)


@pytest.fixture
async def node(settings: Settings) -> AsyncIterator[Node]:
    """Run one gateway with the default settings of the tests."""
    async with running_node(settings) as running:
        yield running


@pytest.fixture(scope="session")
def compiled_module(tmp_path_factory: pytest.TempPathFactory) -> ModuleType:
    """Compile and load ``_send_frame.c``, as an installation with a C compiler does."""
    path = tmp_path_factory.mktemp("compiled") / Path(MODULE).name
    if problem := compile_module(ROOT, path):
        pytest.skip(problem)
    spec = importlib.util.spec_from_file_location(COMPILED_MODULE, path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(params=["by sockets", "by transports"])
def each_sender(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start gateways with the compiled module, and without it. Use this before ``node``."""
    module = request.getfixturevalue("compiled_module") if request.param == "by sockets" else None
    monkeypatch.setitem(sys.modules, COMPILED_MODULE, module)


def principal(user: str, role: Role = "customer") -> Principal:
    """Return a principal with this user id and role."""
    return Principal(UserId(user), role)


__all__ = ["DEFAULT_ZONE", "JSON_SUBPROTOCOL", "Client", "Node", "principal", "running_node", "serve_app"]
