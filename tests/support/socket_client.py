"""A WebSocket client for tests: it sends what the test gives it and records every frame that it receives."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from engine.process.signer import sign_token
from engine.runtime import Engine
from engine.types import Principal, UserId
from tests.support import live_accounts
from tests.support.wait import wait_until

Frame = dict[str, Any]
JSON = Subprotocol("callout.v1.json")


async def token(engine: Engine, who: Principal) -> str:
    """Return an access token for a principal. Their account is written to Redis only."""
    await live_accounts.put_account(engine, who.id, who.role)
    return sign_token(engine.signer, UserId(who.id), who.role, name=who.name)


class SocketClient:
    """One WebSocket. ``pushes`` are the frames without an id, in order. ``cursors`` advance with them and with the zone
    heads. ``connected`` is the payload of the reply to ``connect``.
    """

    def __init__(self, url: str, bearer: str) -> None:
        self.url, self.bearer = url, bearer
        self.pushes: list[Frame] = []
        self.cursors: dict[str, Frame] = {}
        self.connected: Frame = {}
        self._by_event: dict[tuple[str, str | None], list[Frame]] = {}
        self._ids = itertools.count(1)
        self._replies: dict[int, asyncio.Future[Frame]] = {}
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None

    async def open(self, *, resume: bool = True, **more: Any) -> SocketClient:
        """Open the socket and connect. With ``resume``, resume from the stored cursors."""
        given = {"cursors": self.cursors} if resume and self.cursors else {}
        reply = await self.connect(**given, **more)
        self.connected = reply["ok"]
        for zone, head in self.connected["zones"].items():
            if zone not in self.cursors or not head["recovered"]:
                self.cursors[zone] = {"epoch": head["epoch"], "seq": head["seq"]}
            self.cursors[zone]["epoch"] = head["epoch"]
        return self

    async def connect(self, **more: Any) -> Frame:
        """Open the socket and return the reply to ``connect``, ``ok`` or ``error``."""
        self._socket = await connect(self.url, subprotocols=[JSON], compression=None, max_queue=None)
        self._reader = asyncio.create_task(self._read(self._socket))
        return await self.request("connect", token=self.bearer, **more)

    async def request(self, op: str, **arguments: Any) -> Frame:
        """Send a request and wait for its reply, ``ok`` or ``error``."""
        assert self._socket
        number = next(self._ids)
        self._replies[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(orjson.dumps({"id": number, "op": op, **arguments}).decode())
        async with asyncio.timeout(20):
            return await self._replies[number]

    async def claim(self, job: str, key: str | None = None) -> Frame:
        """Claim a job, with a new idempotency key unless one is given."""
        return await self.request("claim", job=job, key=key or str(uuid.uuid4()))

    def abort(self) -> None:
        """Abort the connection without a close frame."""
        assert self._socket
        self._socket.transport.abort()

    async def close(self) -> None:
        """Close the socket with a close frame."""
        if self._socket:
            await self._socket.close()
        if self._reader:
            await self._reader

    @property
    def close_code(self) -> int | None:
        """The close code that the server sent."""
        return self._socket.close_code if self._socket else None

    def received(self, event: str, job: str | None = None) -> list[Frame]:
        """Return the pushes with this event name, about one job if it is given."""
        return self._by_event.get((event, job), [])

    async def wait_for(self, event: str, job: str | None = None, within_s: float = 10.0) -> Frame:
        """Wait for the first push with this event name, about one job if it is given, and return it."""
        await wait_until(lambda: self.received(event, job), within_s=within_s, what=f"{event} about {job}")
        return self.received(event, job)[0]

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for text in socket:
                self._receive(orjson.loads(text), socket)
        except ConnectionClosed:
            pass
        for waiting in self._replies.values():
            if not waiting.done():
                waiting.cancel()

    def _receive(self, frame: Frame, socket: ClientConnection) -> None:
        if "id" in frame and frame["id"] in self._replies:
            self._replies.pop(frame["id"]).set_result(frame)
        elif "type" in frame:
            self.pushes.append(frame)
            about = frame["data"].get("job") or frame["data"].get("offer", {}).get("job") or {}
            for job in {None, about["id"] if isinstance(about, dict) and "id" in about else None}:
                self._by_event.setdefault((frame["event"], job), []).append(frame)
            if "seq" in frame:
                self.cursors.setdefault(frame["zone"], {"epoch": ""})["seq"] = frame["seq"]
        elif "epoch" in frame:
            self.cursors[frame["zone"]] = {"epoch": frame["epoch"], "seq": frame["seq"]}
        elif frame == {}:
            self._pong = asyncio.ensure_future(socket.send("{}"))
