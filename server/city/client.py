"""One person's connection: stays up, resumes where it was, hands on every event once and in order.

The state that survives a cut is small: a cursor per zone and the requests without an answer. A request goes
out again with the key it was made with, so that the server knows it; an event at or below the cursor is a
repeat.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from server.city.backoff import Backoff
from server.city.refusal import Ended, Refusal, Unreachable

Frame = dict[str, Any]
SUBPROTOCOL = Subprotocol("callout.v1.json")
COMES_BACK = frozenset({1000, 1001, 1005, 1006, 1011, 1012, 1013, *range(4000, 4500)})
CONNECT_S = 10.0
REAUTHENTICATE = frozenset({4003, 4006})
KEYED = frozenset({"claim", "decline", "command", "availability", "location"})
REPEATED = frozenset({"unavailable", "indeterminate", "in_flight", "rate_limited", "paused"})
_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Frame).decode


class Client:
    """A WebSocket that comes back by itself until ``close`` or a close code that forbids it.

    ``token`` is asked before each connect (and when the server says that one is running out), with True where
    the last was refused. ``on_event`` gets each push once, logged ones in the log's order; ``on_joined`` each
    connect reply before anything that follows from it: a zone there with ``recovered`` false means that its
    owner must fetch his state anew; ``on_repeat`` each logged push that had been handled. All three are plain
    calls: when ``on_event`` returns, the event counts as handled and the cursor moves.
    """

    def __init__(
        self,
        url: str,
        token: Callable[[bool], Awaitable[str]],
        *,
        on_event: Callable[[Frame], None],
        on_joined: Callable[[Frame], None] = lambda ok: None,
        on_repeat: Callable[[Frame], None] = lambda event: None,
    ) -> None:
        self.cursors: dict[str, Frame] = {}
        self._url = url
        self._token = token
        self._on_event, self._on_joined, self._on_repeat = on_event, on_joined, on_repeat
        self._ids = itertools.count(1)
        self._waiting: dict[int, tuple[Frame, asyncio.Future[Frame]]] = {}
        self._joined_at: dict[str, tuple[int, int]] = {}
        self._socket: ClientConnection | None = None
        self._up = asyncio.Event()
        self._backoff = Backoff()
        self._stale = False
        self._quiet_s = 60.0
        self._life: asyncio.Task[None] | None = None
        self._chores: set[asyncio.Task[None]] = set()

    async def open(self, patience_s: float = 60.0) -> None:
        """Start living, and wait for the first connect reply. Raises Ended, or Unreachable after
        ``patience_s``.
        """
        self._life = asyncio.create_task(self._live())
        self._life.add_done_callback(lambda life: life.cancelled() or life.exception())
        waiting = asyncio.create_task(self._up.wait())
        try:
            await asyncio.wait({waiting, self._life}, timeout=patience_s, return_when="FIRST_COMPLETED")
        finally:
            waiting.cancel()
        if self._life.done():
            self._life.result()
        if not self._up.is_set():
            raise Unreachable(f"{self._url}: no connect reply in {patience_s:g} s")

    async def close(self) -> None:
        """End it for good; requests still waiting raise Ended."""
        tasks = [task for task in (self._life, *self._chores) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def cut(self) -> None:
        """Break the connection as a tunnel would: without a close frame. It comes back by itself."""
        if self._socket is not None:
            self._socket.transport.abort()

    async def request(self, op: str, *, patience_s: float = 60.0, **arguments: Any) -> Frame:
        """The ``ok`` of one operation; a lost reply or a temporary refusal is asked for again, with the same
        key.

        Raises Refusal, Ended, or Unreachable after ``patience_s``: then it may have been done.
        """
        if op in KEYED:
            arguments.setdefault("key", str(uuid4()))
        backoff = Backoff()
        try:
            async with asyncio.timeout(patience_s):
                while True:
                    try:
                        return await self._ask({"op": op, **arguments})
                    except Refusal as refusal:
                        if refusal.code not in REPEATED:
                            raise
                        await asyncio.sleep(refusal.retry_after or backoff.next_s())
        except TimeoutError:
            raise Unreachable(f"no answer to {op} in {patience_s:g} s") from None

    async def tell(self, op: str, **arguments: Any) -> None:
        """Send what wants no reply and is worth nothing later, such as a fix: dropped where there is no
        connection.
        """
        await self._send({"op": op, **arguments})

    async def _ask(self, frame: Frame) -> Frame:
        number = next(self._ids)
        frame = {"id": number, **frame}
        reply: asyncio.Future[Frame] = asyncio.get_running_loop().create_future()
        if self._life is None or self._life.done():
            raise Ended("the connection is closed")
        self._waiting[number] = (frame, reply)
        try:
            await self._send(frame)
            return await reply
        finally:
            del self._waiting[number]

    async def _send(self, frame: Frame) -> None:
        if self._socket is None:
            return  # what waits for a reply goes out at the next connect
        try:
            await self._socket.send(_encode(frame), text=True)
        except ConnectionClosed:
            return  # the reader sees the same and comes back

    async def _live(self) -> None:
        try:
            while True:
                code = await self._one_connection()
                if code not in COMES_BACK:
                    raise Ended(f"closed with {code}")
                self._stale = code in REAUTHENTICATE
                await asyncio.sleep(self._backoff.next_s())
        finally:
            for _, reply in self._waiting.values():
                if not reply.done():
                    reply.set_exception(Ended("the connection is closed"))

    async def _one_connection(self) -> int:
        """Connect, join and read until it breaks; returns the close code, 1006 where there was none."""
        try:
            async with connect(
                self._url,
                subprotocols=[SUBPROTOCOL],
                compression=None,
                ping_interval=None,
                open_timeout=CONNECT_S,
                close_timeout=1,
                proxy=None,
            ) as socket:
                await self._join(socket)
                while True:
                    async with asyncio.timeout(self._quiet_s):
                        self._hear(_decode(await socket.recv()))
        except ConnectionClosed as closed:
            return closed.rcvd.code if closed.rcvd else 1006
        except Refusal as refusal:
            if not refusal.temporary:
                raise Ended(str(refusal)) from refusal
            return 1013
        except (OSError, InvalidHandshake, TimeoutError, EOFError):
            return 1006
        finally:
            self._up.clear()
            self._socket = None

    async def _join(self, socket: ClientConnection) -> None:
        """Say who we are. Raises Refusal; an expired token is replaced once, as the server allows."""
        for fresh in (True,) if self._stale else (False, True):
            hello = {"id": 0, "op": "connect", "token": await self._token(fresh), "cursors": self.cursors}
            await socket.send(_encode(hello), text=True)
            async with asyncio.timeout(CONNECT_S):
                reply = _decode(await socket.recv())
            if "ok" in reply:
                return await self._joined(socket, reply["ok"])
            refusal = Refusal(reply.get("error", {}))
            if fresh or refusal.code != "token_expired":
                raise refusal

    async def _joined(self, socket: ClientConnection, ok: Frame) -> None:
        self._on_joined(ok)
        for zone, state in ok.get("zones", {}).items():
            self._joined_at[zone] = (state["seq"], state.get("missed", 0) if state["recovered"] else 0)
            if not state["recovered"]:
                self.cursors.pop(zone, None)
            self._move(zone, 0, state["epoch"])
        self._quiet_s = 2 * ok.get("ping", 25) + ok.get("pong", 10)
        self._backoff.reset()
        self._socket = socket
        self._up.set()
        for frame, _ in list(self._waiting.values()):
            await self._send(frame)

    def _hear(self, frame: Frame) -> None:
        if not frame:
            self._chore(self._send({}))
        elif "id" in frame:
            self._reply(frame)
        elif "type" not in frame:
            self._move(frame["zone"], frame["seq"], frame["epoch"])
        elif "seq" in frame:
            self._logged(frame)
        else:
            if frame["type"] == "token.expiring":
                self._chore(self._refresh())
            self._on_event(frame)

    def _reply(self, frame: Frame) -> None:
        _, reply = self._waiting.get(frame["id"], (None, None))
        if reply is None or reply.done():
            return
        if "ok" in frame:
            reply.set_result(frame["ok"])
        else:
            reply.set_exception(Refusal(frame.get("error", {})))

    def _logged(self, event: Frame) -> None:
        zone, seq = event["zone"], event["seq"]
        if seq <= self.cursors[zone]["seq"]:
            self._on_repeat(event)
            return
        self._on_event(event)
        joined_at, missed = self._joined_at[zone]
        self._joined_at[zone] = (joined_at, max(0, missed - 1))
        self._move(zone, seq, self.cursors[zone]["epoch"])

    def _move(self, zone: str, seq: int, epoch: str) -> None:
        """Move the cursor; the head at joining counts only once all that had been missed has come."""
        joined_at, missed = self._joined_at.get(zone, (0, 0))
        at = self.cursors.get(zone, {"seq": 0})["seq"]
        self.cursors[zone] = {"epoch": epoch, "seq": max(at, seq, 0 if missed else joined_at)}

    async def _refresh(self) -> None:
        await self._ask({"op": "refresh", "token": await self._token(True)})

    def _chore(self, work: Any) -> None:
        task = asyncio.create_task(work)
        self._chores.add(task)
        task.add_done_callback(self._chores.discard)
