"""A WebSocket client for tests. It sends what a test requests and records each frame that it receives."""

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

Frame = dict[str, Any]
JSON_SUBPROTOCOL = Subprotocol("callout.v1.json")


async def token(engine: Engine, who: Principal) -> str:
    """Write the account of ``who`` to Redis (not to SQL) and return an access token for it."""
    await live_accounts.put_account(engine, who.id, who.role)
    return sign_token(engine.signer, UserId(who.id), who.role, name=who.name)


class SocketClient:
    """One WebSocket to a server. ``pushes`` contains the received frames without an id, in order. ``cursors`` is the
    newest position for each zone. ``connected`` is the payload of the reply to ``connect``.
    """

    def __init__(self, url: str, bearer: str) -> None:
        self.url, self.bearer = url, bearer
        self.pushes: list[Frame] = []
        self.cursors: dict[str, Frame] = {}
        self.connected: Frame = {}
        self._by_event: dict[tuple[str, str | None], list[Frame]] = {}
        self._waiting: dict[tuple[str, str | None], asyncio.Event] = {}
        self._ids = itertools.count(1)
        self._replies: dict[int, asyncio.Future[Frame]] = {}
        self._socket: ClientConnection | None = None
        self._reader: asyncio.Task[None] | None = None

    async def open(self, *, resume: bool = True, **more: Any) -> SocketClient:
        """Open the socket and send ``connect``. If ``resume`` is true, send the stored cursors, so that the server
        replays what was missed.
        """
        resume_options = {"cursors": self.cursors} if resume and self.cursors else {}
        reply = await self.connect(**resume_options, **more)
        self.connected = reply["ok"]
        for zone, head in self.connected["zones"].items():
            if zone not in self.cursors or not head["recovered"]:
                self.cursors[zone] = {"epoch": head["epoch"], "seq": head["seq"]}
            self.cursors[zone]["epoch"] = head["epoch"]
        return self

    async def connect(self, **more: Any) -> Frame:
        """Open the socket, send ``connect`` and return the reply, which contains ``ok`` or ``error``."""
        self._socket = await connect(self.url, subprotocols=[JSON_SUBPROTOCOL], compression=None, max_queue=None)
        self._reader = asyncio.create_task(self._read_frames(self._socket))
        return await self.request("connect", token=self.bearer, **more)

    async def request(self, op: str, **arguments: Any) -> Frame:
        """Send a request and return the reply, which contains ``ok`` or ``error``."""
        assert self._socket
        number = next(self._ids)
        self._replies[number] = asyncio.get_running_loop().create_future()
        await self._socket.send(orjson.dumps({"id": number, "op": op, **arguments}).decode())
        async with asyncio.timeout(20):
            return await self._replies[number]

    async def claim(self, job: str, key: str | None = None) -> Frame:
        """Claim a job. Without ``key``, use a new idempotency key."""
        return await self.request("claim", job=job, key=key or str(uuid.uuid4()))

    def abort(self) -> None:
        """Close the TCP connection without a close frame, as when a device loses its network."""
        assert self._socket
        self._socket.transport.abort()

    async def close(self) -> None:
        """Send a close frame, and wait until the socket is closed."""
        if self._socket:
            await self._socket.close()
        if self._reader:
            await self._reader

    @property
    def close_code(self) -> int | None:
        """Return the close code that the server sent. None: the socket is open."""
        return self._socket.close_code if self._socket else None

    def received(self, event: str, job: str | None = None) -> list[Frame]:
        """Return the pushes of this event type. With ``job``, return only those about this job."""
        return self._by_event.get((event, job), [])

    async def wait_for(self, event: str, job: str | None = None, within_s: float = 10.0) -> Frame:
        """Wait until a push of this event type (and about ``job``) has arrived, and return the first."""
        if not self.received(event, job):
            arrival = self._waiting.setdefault((event, job), asyncio.Event())
            try:
                async with asyncio.timeout(within_s):
                    await arrival.wait()
            except TimeoutError:
                raise AssertionError(f"{event} about {job} did not arrive within {within_s} s") from None
        return self.received(event, job)[0]

    async def _read_frames(self, socket: ClientConnection) -> None:
        """Process frames until the socket is closed, then cancel the requests that have no reply."""
        try:
            async for text in socket:
                self._process_frame(orjson.loads(text), socket)
        except ConnectionClosed:
            pass
        for waiting in self._replies.values():
            if not waiting.done():
                waiting.cancel()

    def _process_frame(self, frame: Frame, socket: ClientConnection) -> None:
        """Pass a reply to its request, record a push, update the cursor, or send a pong."""
        if "id" in frame and frame["id"] in self._replies:
            self._replies.pop(frame["id"]).set_result(frame)
        elif "type" in frame:
            self.pushes.append(frame)
            event_job = frame["data"].get("job") or frame["data"].get("offer", {}).get("job") or {}
            for job in {None, event_job["id"] if isinstance(event_job, dict) and "id" in event_job else None}:
                self._by_event.setdefault((frame["event"], job), []).append(frame)
                if arrival := self._waiting.pop((frame["event"], job), None):
                    arrival.set()
            if "seq" in frame:
                self.cursors.setdefault(frame["zone"], {"epoch": ""})["seq"] = frame["seq"]
        elif "epoch" in frame:
            self.cursors[frame["zone"]] = {"epoch": frame["epoch"], "seq": frame["seq"]}
        elif frame == {}:
            self._pong = asyncio.ensure_future(socket.send("{}"))
