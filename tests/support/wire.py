"""A client for tests: says what it is told to, keeps every frame it gets, hides nothing."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from typing import Any

import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from engine.process.signer import access_token
from engine.runtime import Engine
from engine.types import Principal, UserId
from tests.support import hot
from tests.support.wait import wait_until

Frame = dict[str, Any]
JSON = Subprotocol("callout.v1.json")


async def token(engine: Engine, who: Principal) -> str:
    """An access token for a principal who may exist in Redis alone."""
    await hot.account(engine, who.id, who.role)
    return access_token(engine.signer, UserId(who.id), who.role, name=who.name)


class Wire:
    """One WebSocket. ``pushes`` are the frames without an id, in order; ``cursors`` follow them and the heads."""

    def __init__(self, url: str, bearer: str) -> None:
        self.url, self.bearer = url, bearer
        self.pushes: list[Frame] = []
        self.cursors: dict[str, Frame] = {}
        self.hello: Frame = {}
        self._named: dict[tuple[str, str | None], list[Frame]] = {}
        self._ids = itertools.count(1)
        self._replies: dict[int, asyncio.Future[Frame]] = {}
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None

    async def open(self, *, resume: bool = True, **more: Any) -> Wire:
        """Connect, from the cursors held where there are any."""
        given = {"cursors": self.cursors} if resume and self.cursors else {}
        reply = await self.say_hello(**given, **more)
        self.hello = reply["ok"]
        for zone, place in self.hello["zones"].items():
            if zone not in self.cursors or not place["recovered"]:
                self.cursors[zone] = {"epoch": place["epoch"], "seq": place["seq"]}
            self.cursors[zone]["epoch"] = place["epoch"]
        return self

    async def say_hello(self, **more: Any) -> Frame:
        """Open the socket, and give the reply to ``connect``, whatever it is."""
        self._socket = await connect(self.url, subprotocols=[JSON], compression=None, max_queue=None)
        self._reader = asyncio.create_task(self._read(self._socket))
        return await self.ask("connect", token=self.bearer, **more)

    async def ask(self, op: str, **arguments: Any) -> Frame:
        """Send a request and wait for its reply, ``ok`` or ``error``."""
        assert self._socket
        number = next(self._ids)
        self._replies[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(orjson.dumps({"id": number, "op": op, **arguments}).decode())
        async with asyncio.timeout(20):
            return await self._replies[number]

    async def claim(self, job: str, key: str | None = None) -> Frame:
        """Claim with a key of one's own."""
        return await self.ask("claim", job=job, key=key or str(uuid.uuid4()))

    def cut(self) -> None:
        """Break the connection without a word."""
        assert self._socket
        self._socket.transport.abort()

    async def close(self) -> None:
        """Leave in an orderly way."""
        if self._socket:
            await self._socket.close()
        if self._reader:
            await self._reader

    @property
    def close_code(self) -> int | None:
        """The code the server closed with."""
        return self._socket.close_code if self._socket else None

    def of(self, event: str, job: str | None = None) -> list[Frame]:
        """The pushes under one name that clients see, about one job where it is given."""
        return self._named.get((event, job), [])

    async def told(self, event: str, job: str | None = None, within_s: float = 10.0) -> Frame:
        """Wait for the first push of a name."""
        await wait_until(lambda: self.of(event, job), within_s=within_s, what=f"{event} about {job}")
        return self.of(event, job)[0]

    async def _read(self, socket: ClientConnection) -> None:
        try:
            async for text in socket:
                self._take(orjson.loads(text), socket)
        except ConnectionClosed:
            pass
        for waiting in self._replies.values():
            if not waiting.done():
                waiting.cancel()

    def _take(self, frame: Frame, socket: ClientConnection) -> None:
        if "id" in frame and frame["id"] in self._replies:
            self._replies.pop(frame["id"]).set_result(frame)
        elif "type" in frame:
            self.pushes.append(frame)
            about = frame["data"].get("job") or frame["data"].get("offer", {}).get("job") or {}
            for job in {None, about["id"] if isinstance(about, dict) and "id" in about else None}:
                self._named.setdefault((frame["event"], job), []).append(frame)
            if "seq" in frame:
                self.cursors.setdefault(frame["zone"], {"epoch": ""})["seq"] = frame["seq"]
        elif "epoch" in frame:
            self.cursors[frame["zone"]] = {"epoch": frame["epoch"], "seq": frame["seq"]}
        elif frame == {}:
            self._pong = asyncio.ensure_future(socket.send("{}"))
