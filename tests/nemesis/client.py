"""A client of the fault suite that records each attempt and each event. It has a WebSocket that reconnects with its
cursor, and HTTP.

It repeats no command by itself: the workload decides what is sent again, so that each attempt is in the history.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
import uuid
from contextlib import suppress
from typing import Any

import httpx
import orjson
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake
from websockets.typing import Subprotocol

from tests.nemesis import chat
from tests.nemesis.history import NOT_DONE, UNKNOWN, Heard, History, Joined, Operation
from tests.support.http import open_http

Frame = dict[str, Any]
ATTEMPT_TIMEOUT_S = 8.0
"""How long a client waits for a reply. The server answers within about 5 s."""
SUBPROTOCOL = Subprotocol("callout.v1.json")
ZONE = "main"


class Client:
    """One user on one socket. ``actor`` is ``role:id``. ``offered`` has the jobs of which the user has received an
    offer.
    """

    def __init__(self, history: History, url: str, name: str, actor: str, token: str, seed: int) -> None:
        self.name, self.actor, self.draw = name, actor, random.Random(seed)
        self.id = actor.partition(":")[2]
        self.offered: asyncio.Queue[str] = asyncio.Queue()
        self.epoch, self.seq = "", 0
        self.is_connected = asyncio.Event()
        self.end_code: int | None = None
        self._history, self._url, self._token = history, url, token
        self._http = open_http(url, timeout_s=ATTEMPT_TIMEOUT_S)
        self._numbers, self._ids = itertools.count(1), itertools.count(2)
        self._replies: dict[int, asyncio.Future[Frame]] = {}
        self._socket: ClientConnection | None = None

    # the socket

    async def run(self) -> None:
        """Keep a socket open until the task is cancelled, or until a close code says that the client must not
        reconnect.
        """
        while self.end_code is None:
            try:
                await self._connect_once()
            except (OSError, InvalidHandshake, TimeoutError, EOFError, ConnectionClosed):
                pass
            finally:
                self._socket = None
                self.is_connected.clear()
                self._fail_replies()
            await asyncio.sleep(self.draw.uniform(0.05, 0.4))

    async def _connect_once(self) -> None:
        ws = "ws" + self._url.removeprefix("http") + "/v1/ws"
        async with connect(
            ws,
            subprotocols=[SUBPROTOCOL],
            compression=None,
            max_queue=None,
            open_timeout=4,
            close_timeout=1,
            proxy=None,
        ) as socket:
            cursors = {ZONE: {"epoch": self.epoch, "seq": self.seq}} if self.epoch else {}
            hello = {"id": 1, "op": "connect", "token": self._token, "cursors": cursors}
            await socket.send(orjson.dumps(hello).decode())
            async with asyncio.timeout(6):
                reply = orjson.loads(await socket.recv())
            if "error" in reply or ZONE not in reply["ok"]["zones"]:
                return
            self._handle_connect_reply(reply["ok"])
            self._socket = socket
            self.is_connected.set()
            while True:
                try:
                    async with asyncio.timeout(60):
                        text = await socket.recv()
                except ConnectionClosed as closed:
                    if closed.rcvd and 4500 <= closed.rcvd.code < 5000:
                        self.end_code = closed.rcvd.code
                    return
                await self._handle_frame(orjson.loads(text), socket)

    def _handle_connect_reply(self, ok: Frame) -> None:
        zone = ok["zones"][ZONE]
        now, after = time.monotonic_ns(), self.seq if self.epoch else 0
        recovered, reason = bool(zone["recovered"]), zone.get("reason") or ""
        self._history.add(
            Joined(self.name, self.actor, ZONE, zone["epoch"], zone["seq"], recovered, now, reason, after)
        )
        self.epoch = zone["epoch"]
        if not recovered:
            self.seq = zone["seq"]

    async def _handle_frame(self, frame: Frame, socket: ClientConnection) -> None:
        if not frame:
            await socket.send("{}")
        elif "id" in frame:
            if (reply := self._replies.pop(frame["id"], None)) and not reply.done():
                reply.set_result(frame)
        elif "type" in frame:
            if "seq" in frame:
                self._record_event(frame)
        elif "epoch" in frame:
            self.epoch, self.seq = frame["epoch"], frame["seq"]
            now = time.monotonic_ns()
            self._history.add(Heard(self.name, ZONE, self.epoch, self.seq, "head", now))

    def _record_event(self, frame: Frame) -> None:
        job = frame["data"].get("job") or frame["data"].get("offer", {}).get("job") or {}
        job = job if isinstance(job, dict) else {"id": job}
        holder = (job.get("technician") or {}).get("id", "")
        now = time.monotonic_ns()
        self._history.add(
            Heard(
                self.name,
                ZONE,
                self.epoch,
                frame["seq"],
                frame["type"],
                now,
                job.get("id", ""),
                job.get("version", 0),
                job.get("status", ""),
                holder,
            )
        )
        self.seq = max(self.seq, frame["seq"])
        if frame["type"] == "offer.created":
            self.offered.put_nowait(job["id"])

    def _fail_replies(self) -> None:
        for reply in self._replies.values():
            if not reply.done():
                reply.set_exception(ConnectionResetError("the socket ended"))
                reply.exception()  # nobody may be waiting any more
        self._replies.clear()

    # attempts

    async def attempt(
        self, cmd: str, job: str, key: str | None = None, args: Frame | None = None, *, by_http: bool = False
    ) -> Operation:
        """Send a command once and record the attempt."""
        key, args = key or str(uuid.UUID(int=self.draw.getrandbits(128), version=4)), args or {}
        began = time.monotonic_ns()
        op = Operation(self.name, next(self._numbers), began, None, job, self.actor, cmd, args, key, UNKNOWN)
        over_http = by_http or cmd in ("book", "reassign") or self._socket is None
        try:
            reply = await (self._over_http(op) if over_http else self._over_socket(op))
            self._record_reply(op, reply)
        except httpx.ConnectError:
            op.out = NOT_DONE
        except (httpx.HTTPError, OSError, TimeoutError, ConnectionClosed, EOFError):
            pass
        finally:
            op.t1 = None if op.out == UNKNOWN else time.monotonic_ns()
            self._history.add(op)
        return op

    def _record_reply(self, op: Operation, reply: Frame) -> None:
        """Record the outcome that a reply states in the attempt ``op``."""
        if "error" in reply:
            op.out = reply["error"]["code"]
            return
        ok = reply["ok"]
        op.out, op.epoch, op.repeated = "ok", self.epoch, bool(ok.get("repeated"))
        if op.cmd in chat.OPS:
            op.version = {"say": ok.get("message"), "join": ok.get("room"), "read": ok}[op.cmd]["n"]
            op.seq = ok.get("seq") or 0 if op.cmd == "say" else 0
            return
        job = ok.get("job") or {}
        op.job, op.seq = op.job or job.get("id", ""), ok.get("seq") or 0
        if op.cmd != "decline":
            op.version = job.get("version", 0)

    async def _over_socket(self, op: Operation) -> Frame:
        assert self._socket
        number = next(self._ids)
        named = {"op": op.cmd} if op.cmd in ("claim", "decline") else {"op": "command", "command": op.cmd}
        named |= {"job": op.job, "key": op.key}
        if op.cmd in chat.OPS:
            named = {"op": op.cmd, "room": op.job} | ({} if op.cmd == "join" else {"key": op.key})
        self._replies[number] = asyncio.get_running_loop().create_future()
        frame = {"id": number, **named, **op.args}
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
                await self._socket.send(orjson.dumps(frame).decode())
                return await self._replies[number]
        finally:
            self._replies.pop(number, None)

    async def send(self, op: str, **arguments: Any) -> None:
        """Send an op without a reply, if the socket is open."""
        if self._socket is not None:
            with suppress(ConnectionClosed):
                await self._socket.send(orjson.dumps({"op": op, **arguments}).decode())

    async def _over_http(self, op: Operation) -> Frame:
        body, path = dict(op.args), f"/v1/jobs/{op.job}/{op.cmd}"
        if op.cmd == "book":
            path = "/v1/jobs"
        elif op.cmd == "decline":
            path, body = f"/v1/jobs/{op.job}/respond", {"status": "rejected", **body}
        elif op.cmd in chat.OPS:
            path = f"/v1/rooms/{op.job}" + {"say": "/messages", "join": "", "read": "/read"}[op.cmd]
        headers = {"authorization": f"Bearer {self._token}", "idempotency-key": op.key}
        if op.cmd == "join":
            response = await self._http.get(path, headers=headers)
        else:
            response = await self._http.post(path, json=body, headers=headers)
        content = orjson.loads(response.content) if response.content else {}
        if response.status_code >= 400:
            return {"error": {"code": content.get("code", "internal")}}
        repeated = response.headers.get("idempotency-replayed") == "true"
        return {"ok": {**content, "repeated": repeated}}

    async def close(self) -> None:
        """Close the HTTP connections."""
        with suppress(OSError):
            await self._http.aclose()
