"""One person's connection: stays up, resumes where it was, hands on every event once and in order.

The state that survives a cut is small: a cursor per zone and the requests without an answer. A request goes
out again with the key it was made with, so that the server knows it; an event at or below the cursor is a
repeat.

Polling is no second mode of the connection but what fills the gaps between two attempts at a socket once two in a
row have failed: so the way back to the socket is the same loop that always runs. (Rejected: choosing a transport at
the start, which leaves those who were behind a bad proxy for a minute polling all day.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from contextlib import suppress
from math import inf
from typing import Any, NamedTuple
from urllib.parse import quote
from uuid import uuid4

from websockets.asyncio.client import ClientConnection
from websockets.exceptions import ConnectionClosed, InvalidHandshake

from callout_client.access import Access, Ticket, Token, decode, encode
from callout_client.api import Api
from callout_client.backoff import Backoff
from callout_client.chores import Chores
from callout_client.cursors import Places
from callout_client.failures import BAD_CREDENTIALS, COMES_BACK, TOO_MANY, ClientError, Ended, Refusal, Unreachable
from callout_client.feed import Feed
from callout_client.listeners import Frame, On, Status, Sync, tell
from callout_client.over_http import route_of
from callout_client.requests import KEYED, Requests, until_told

REAUTHENTICATE = frozenset({4003, 4006})
POLL_S = 25
BLOCKED = 2
"""Attempts at a socket that may fail in a row before polling begins."""


class _End(NamedTuple):
    code: int
    reason: str
    joined: bool


class Callout:
    """A connection that comes back by itself until ``close`` or a close code that forbids it.

    ``url`` is the server's (``http://…``). ``token`` is asked for an access token before each connection, and when the
    server says that one is running out; with True where the last was refused, so that one kept must not be given again.
    If it raises, it is asked again later, unless that is a Refusal that is not temporary. ``ticket``, where given, is
    asked for a one-use ticket for each socket in its place; without a token there is no HTTP, hence no polling.
    ``cursors`` go on from an earlier life (``cursors`` of it); ``subs`` are channels beside one's own, given again at
    each connection. ``api``: connections shared with others, who then are not polled over: a poll holds one for long.
    """

    def __init__(
        self,
        url: str,
        token: Token | None,
        on: On,
        *,
        ticket: Ticket | None = None,
        cursors: Places | None = None,
        subs: Collection[str] = (),
        api: Api | None = None,
    ) -> None:
        self.status = Status("offline")
        self.session: Frame = {}
        """The last connect reply."""
        self.subs = set(subs)
        self._on = on
        self._access = Access(url, token, ticket, api)
        self._feed = Feed(on, cursors)
        self._requests = Requests()
        self._chores = Chores(self._broken)
        self._backoff = Backoff()
        self._socket: ClientConnection | None = None
        self._polling: asyncio.Task[None] | None = None
        self._fresh = False
        self._me = ""
        self._up = asyncio.Event()
        self._life: asyncio.Task[None] | None = None
        self._fault: Ended | None = None

    @property
    def cursors(self) -> Places:
        """How far each zone has been handled."""
        return self._feed.cursors.places

    async def __aenter__(self) -> Callout:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self, patience_s: float = 60.0) -> None:
        """Start living, or live again, and wait until it is connected. Raises Ended, or Unreachable after
        ``patience_s``: then it goes on trying.
        """
        if self._life is None or self._life.done():
            self._fault, self._life = None, asyncio.create_task(self._live())
            self._life.add_done_callback(lambda life: life.cancelled() or life.exception())
        waiting = asyncio.create_task(self._up.wait())
        try:
            await asyncio.wait({waiting, self._life}, timeout=patience_s, return_when="FIRST_COMPLETED")
        finally:
            waiting.cancel()
        if self._life.done():
            self._life.result()
        if not self._up.is_set():
            raise Unreachable(f"{self._access.url}: not connected in {patience_s:g} s")

    async def ended(self) -> None:
        """Wait until it is offline. Raises Ended, unless ``close`` was the end."""
        if self._life is not None:
            await asyncio.wait({self._life})
            if not self._life.cancelled():
                self._life.result()

    async def close(self) -> None:
        """End it for good; requests still waiting raise Ended."""
        if self._life is not None:
            self._life.cancel()
            await asyncio.gather(self._life, return_exceptions=True)
        await self._access.close()

    async def cut(self) -> None:
        """Break the connection as a tunnel would: without a close frame. It comes back by itself."""
        if self._socket is not None:
            self._socket.transport.abort()

    # asking

    async def request(self, op: str, *, patience_s: float = 60.0, **arguments: Any) -> Frame:
        """The ``ok`` of one operation; a lost reply or a temporary refusal is asked for again, with the same
        key, over whatever connection there is by then.

        Raises Refusal, Ended, or Unreachable after ``patience_s``: then it may have been done. What changes something
        has a ``key``, made here unless given; the failure carries it. ``trace`` (a traceparent) of a claim, a decline
        or a command is kept with its event.
        """
        if op in KEYED:
            arguments.setdefault("key", str(uuid4()))
        if op == "subscribe":
            self.subs.add(arguments["channel"])
        elif op == "unsubscribe":
            self.subs.discard(arguments["channel"])
        try:
            async with asyncio.timeout(patience_s):
                return await until_told(lambda: self._ask({"op": op, **arguments}))
        except TimeoutError:
            failure: ClientError = Unreachable(f"no answer to {op} in {patience_s:g} s")
        except ClientError as error:
            if op == "subscribe" and isinstance(error, Refusal):
                self.subs.discard(arguments["channel"])
            failure = error
        failure.key = str(arguments.get("key", ""))
        raise failure

    async def tell(self, op: str, **arguments: Any) -> None:
        """Send what wants no reply and is worth nothing later, such as a fix: dropped where there is no
        socket.
        """
        await self._send({"op": op, **arguments})

    async def http(
        self, method: str, path: str, body: Frame | None = None, *, key: str = "", patience_s: float = 60.0
    ) -> Frame:
        """One HTTP request in his name: the decoded answer, ``{}`` where it has no body. What changes something has a
        key, and is repeated with it for ``patience_s``. Raises Refusal or Unreachable.
        """
        return await self._access.http(method, path, body, key=key, patience_s=patience_s)

    async def _ask(self, frame: Frame) -> Frame:
        if self._life is None or self._life.done():
            raise Ended("the connection is closed", self.status.code or 1000)
        with self._requests.waiting(frame) as (number, reply):
            await self._put(number, frame)
            return await reply

    async def _put(self, number: int, frame: Frame) -> None:
        """By the connection there is; without one it goes out at the next."""
        if self._socket is not None:
            await self._send({"id": number, **frame})
        elif self.status.transport == "polling" and (route := route_of(frame, self._me)):
            work = self._access.http(*route, key=frame.get("key", ""), trace=frame.get("trace", ""), patience_s=0)
            self._requests.answer_by(number, work)

    async def _put_all(self) -> None:
        for number, frame in self._requests.open():
            await self._put(number, frame)

    async def _send(self, frame: Frame) -> None:
        if self._socket is not None:
            with suppress(ConnectionClosed):  # the reader sees the same and comes back
                await self._socket.send(encode(frame), text=True)

    # the life of the connection

    async def _live(self) -> None:
        why = Ended("closed")
        self._tell(Status("reconnecting"))
        try:
            await self._come_back()
        except asyncio.CancelledError:
            if self._fault is None:
                raise
            why = self._fault
            raise why from why.__cause__
        except Ended as ended:
            why = ended
            raise
        finally:
            self._up.clear()
            self._polling = None
            await self._chores.end()
            self._requests.refuse_all("the connection is closed", why.code)
            self._tell(Status("offline", code=why.code, reason=str(why)))

    def _broken(self, fault: Ended) -> None:
        if self._fault is None and self._life is not None:
            self._fault = fault
            self._life.cancel()

    async def _come_back(self) -> None:
        failed = 0
        while True:
            end = await self._one_socket()
            if end.code not in COMES_BACK:
                raise Ended(f"closed with {end.code} {end.reason}".rstrip(), end.code)
            self._fresh |= end.code in REAUTHENTICATE
            failed = 0 if end.joined else failed + 1
            if failed >= BLOCKED and self._polling is None and self._access.may_poll:
                self._feed.unjoin()
                self._polling = self._chores.begin(self._poll())
            if self._polling is None:
                self._up.clear()
                self._tell(Status("reconnecting", code=end.code, reason=end.reason))
            await asyncio.sleep(self._backoff.next_s(later=end.code == TOO_MANY))

    async def _one_socket(self) -> _End:
        """Connect, join and read until it breaks; the code is 1006 where there was none."""
        code, reason, joined = 1006, "", False
        try:
            async with await self._access.dial() as socket:
                if self._polling is not None:
                    await self._chores.end(self._polling)
                    self._polling = None
                hello: Frame = {"cursors": self.cursors, "subs": sorted(self.subs)}
                if last := self.session.get("session"):  # the server may not know yet that its socket is dead
                    hello["replaces"] = last
                ok = await self._access.greet(socket, hello, fresh=self._fresh)
                joined = True
                await self._joined(socket, ok)
                # A connection that died without a word is noticed by its silence: the server pings.
                silence_s = 2 * ok.get("ping", 25) + ok.get("pong", 10)
                while True:
                    async with asyncio.timeout(silence_s):
                        text = await socket.recv()
                    self._hear(decode(text))
        except ConnectionClosed as closed:
            if closed.rcvd:
                code, reason = closed.rcvd.code, closed.rcvd.reason
        except (Refusal, Unreachable) as failure:
            if isinstance(failure, Refusal) and not failure.temporary:
                raise Ended(str(failure), BAD_CREDENTIALS) from failure
            code, reason = 1013, str(failure)
        except (OSError, InvalidHandshake, TimeoutError, EOFError) as error:
            reason = str(error) or type(error).__name__
        finally:
            if joined:
                self._socket = None
                await self._chores.end()
        return _End(code, reason, joined)

    async def _joined(self, socket: ClientConnection, ok: Frame) -> None:
        tell(self._on.joined, ok)
        self.session, self._me, self._fresh = ok, ok["user"]["id"], False
        self.subs.difference_update(refused["channel"] for refused in ok.get("refused", ()))
        zones = ok.get("zones", {})
        lost = self._feed.join(zones)
        self._backoff.reset()
        self._socket = socket
        self._up.set()
        self._tell(Status("connected", "socket"))
        if lost:
            self._chores.begin(self._begin_anew(lost, {zone: zones[zone].get("reason") for zone in lost}))
        await self._put_all()

    async def _begin_anew(self, heads: Places, reasons: dict[str, str | None]) -> None:
        """Fetch a snapshot, and hand it on with what has waited for it."""
        snapshot, error = None, None
        try:
            snapshot = await self.http("GET", "/v1/sync", patience_s=inf)
        except Refusal as refusal:
            error = refusal
        if self._feed.begin(heads, Sync(tuple(heads), reasons, snapshot, error)):
            await self.cut()

    def _hear(self, frame: Frame) -> None:
        if not frame:
            self._chores.begin(self._send({}))
        elif "id" in frame:
            self._requests.reply(frame)
        elif "type" in frame:
            self._feed.push(frame)
            if frame["type"] == "token.expiring" and not self._access.by_ticket:
                self._chores.begin(self._refresh())
        elif "epoch" in frame:
            self._feed.head(frame)

    async def _refresh(self) -> None:
        """Where it fails, the server closes with 4003, and the next connection asks for a token again."""
        with suppress(ClientError):
            await self._ask({"op": "refresh", "token": await self._access.bearer(True)})

    # without a socket

    async def _poll(self) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._poll_once()
                backoff.reset()
            except (Refusal, Unreachable) as failure:
                if isinstance(failure, Refusal) and failure.ends:
                    raise Ended(str(failure), failure.ends) from failure
                self._up.clear()
                self._tell(Status("reconnecting", reason=str(failure)))
                await asyncio.sleep(backoff.next_s())

    async def _poll_once(self) -> None:
        """The first answers at once, to learn whether this way is open."""
        if not self._me:
            self._me = (await self.http("GET", "/v1/me", patience_s=0))["user"]["id"]
        after = f"after={quote(str(self._feed.cursors), safe=':,')}&" if self.cursors else ""
        wait = POLL_S if self.status.transport == "polling" else 0
        answer = await self.http("GET", f"/v1/events?{after}wait={wait}", patience_s=0)
        lost = self._feed.polled(answer)
        if lost:
            await self._begin_anew(lost, dict.fromkeys(lost, answer.get("reason")))
        if self.status.transport != "polling":
            self._up.set()
            self._tell(Status("connected", "polling"))
            await self._put_all()

    def _tell(self, status: Status) -> None:
        self.status = status
        tell(self._on.status, status)
