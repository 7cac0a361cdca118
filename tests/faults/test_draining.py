"""Gateway processes that stop: what a load balancer and an event stream observe."""

from __future__ import annotations

import asyncio
import json
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from engine.process.signer import Signer, sign_token
from engine.types import UserId
from tests.server.gateway.conftest import APPEND_SCRIPT
from tests.server.gateway.streams import EventStream
from tests.support import valkey
from tests.support.epochs import epoch_name
from tests.support.http import open_http
from tests.support.process import Server, run_server
from tests.support.wait import wait_until

SOCKET_COUNT = 500
"""The draining gateway closes 20 sockets every tenth of a second, so draining lasts two and a half seconds."""


def admin_token(key: Path) -> str:
    """Return a token of an admin, which needs no account."""
    return sign_token(Signer.load_or_create(key), UserId("cli_admin"), "admin")


async def test_a_draining_server_is_not_ready_and_still_answers(tmp_path: Path) -> None:
    """After SIGTERM ``/readyz`` returns 503 and a new event stream gets 503, while other HTTP requests succeed; all
    sockets are closed with 4000, and the process exits with 0.
    """
    async with run_server(tmp_path / "data", limits="off") as server, AsyncExitStack() as stack:
        bearer = admin_token(tmp_path / "data" / "signing.key")
        http = await stack.enter_async_context(open_http(server.url))
        assert (await http.get("/readyz")).status_code == 200
        sockets = [await _open_socket(stack, server, bearer) for _ in range(SOCKET_COUNT)]
        ending = asyncio.create_task(server.stop())
        answer = await wait_until(lambda: _draining_reply(http), what="readyz false")
        assert (answer.json()["ready"], answer.json()["problems"]) == (False, ["draining"])
        me = await http.get("/v1/me", headers={"Authorization": f"Bearer {bearer}"})
        assert (me.status_code, me.json()["user"]["id"]) == (200, "cli_admin")
        assert (await http.get("/healthz")).status_code == 200
        assert (
            await http.get(f"/v1/events?after=main:{epoch_name(1, server.redis_url)}:0", headers=me.request.headers)
        ).status_code == 503
        assert any(socket.close_code is None for socket in sockets), "all sockets were closed before this check"
        codes = await asyncio.gather(*(_wait_for_close_code(socket) for socket in sockets))
        assert set(codes) == {4000}
        assert (await ending).code == 0


async def _open_socket(stack: AsyncExitStack, server: Server, bearer: str) -> ClientConnection:
    address = server.url.replace("http", "ws") + "/v1/ws"
    socket = await stack.enter_async_context(
        connect(address, subprotocols=[Subprotocol("callout.v1.json")], proxy=None, ping_interval=None)
    )
    await socket.send(json.dumps({"id": 1, "op": "connect", "token": bearer}))
    assert "ok" in json.loads(await socket.recv())
    return socket


async def _wait_for_close_code(socket: ClientConnection) -> int | None:
    with suppress(ConnectionClosed):
        async for _ in socket:
            pass
    return socket.close_code


async def _draining_reply(http: httpx.AsyncClient) -> httpx.Response | None:
    answer = await http.get("/readyz")
    return answer if answer.status_code == 503 else None


class EventStreamReader:
    """An EventSource client behind a load balancer: after each end of the stream it connects to the next gateway, with
    its last event id.
    """

    def __init__(self, bearer: str) -> None:
        self.seqs: list[int] = []
        self.opened = 0
        self.reasons: list[Any] = []
        self.urls: list[str] = []
        self._bearer = bearer
        self._last = ""

    async def read(self) -> None:
        """Read events until the task is cancelled."""
        async with httpx.AsyncClient(timeout=30, trust_env=False) as http:
            while True:
                url = self.urls[self.opened % len(self.urls)]
                with suppress(httpx.TransportError):
                    await self._read_stream(http, url)
                self.opened += 1
                await asyncio.sleep(0.05)

    async def _read_stream(self, http: httpx.AsyncClient, url: str) -> None:
        headers = {"Authorization": f"Bearer {self._bearer}", "Accept": "text/event-stream"}
        headers |= {"Last-Event-ID": self._last} if self._last else {}
        async with http.stream("GET", f"{url}/v1/events", headers=headers) as answer:
            if answer.status_code != 200:
                return
            source = EventStream(answer)
            while (block := await source.next_block()) is not None:
                self._last = source.last
                if block.event == "connect" and self.seqs:
                    self.reasons.append(block.data["recovered"])
                elif block.event == "" and block.data is not None and "seq" in block.data:
                    self.seqs.append(block.data["seq"])


def _append_event(url: str, written: list[int]) -> bool:
    with redis.Redis.from_url(url) as client:
        script: Any = client.register_script(APPEND_SCRIPT)
        written.append(int(script(["{main}:meta", "{main}:log"], [1, "test.event", "role:admin", '{"n":%N}'])))
    return True


async def test_a_stream_survives_a_rolling_restart(tmp_path: Path) -> None:
    """While events are written, two gateways restart one after the other: an event stream that resumes with its last
    event id receives each event once and in order, and each reconnect has ``recovered: true``.
    """
    (tmp_path / "redis").mkdir()
    with valkey.run_server(tmp_path / "redis") as url:
        flags = [*("--redis", url, "--database", f"sqlite:///{tmp_path}/callout.db")]
        flags += ["--key-file", str(tmp_path / "key")]
        async with AsyncExitStack() as stack:
            files = str(tmp_path / "files")
            gateway_flags, more = (*flags, "--role", "gateway"), {"limits": "off", "files": files}
            servers = [
                await stack.enter_async_context(run_server(tmp_path / name, *gateway_flags, **more))
                for name in ("a", "b")
            ]
            reader = EventStreamReader(admin_token(tmp_path / "key"))
            reader.urls = [server.url for server in servers]
            read_task = asyncio.create_task(reader.read())
            written: list[int] = []
            await wait_until(lambda: _append_event(url, written) and reader.seqs, what="the first event")
            for server in servers:
                ending = asyncio.create_task(server.stop())
                while not ending.done():
                    _append_event(url, written)
                    await asyncio.sleep(0.01)
                assert (await ending).code == 0
                port = urlsplit(server.url).port or 0
                await stack.enter_async_context(run_server(server.data, *gateway_flags, port=port, **more))
                _append_event(url, written)
                await wait_until(lambda: reader.seqs[-1] == written[-1], within_s=30, what="all that was written")
            read_task.cancel()
            await asyncio.gather(read_task, return_exceptions=True)
    assert reader.seqs == [seq for seq in written if seq >= reader.seqs[0]]
    assert len(reader.reasons) >= 1 and all(reader.reasons)
