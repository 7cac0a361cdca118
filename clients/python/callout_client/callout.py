"""The connection of one user: it reconnects, resumes, and delivers every event once and in order.

After a lost connection the client still has a cursor for each zone, and the requests without a reply. A request is sent
again with its idempotency key, so the server recognises the request. An event at or below the cursor is a repeat.

Polling is not a separate mode. The client always tries to open a socket, and polls between these attempts after two in
a row have failed. (Rejected: to choose the transport once at the start. A client that is behind a bad proxy for a
minute would then poll all day.)
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

from callout_client.api import Api
from callout_client.background import BackgroundTasks
from callout_client.backoff import Backoff
from callout_client.connector import Connector, TicketProvider, TokenProvider, decode, encode
from callout_client.cursors import ZoneCursors
from callout_client.errors import (
    BAD_CREDENTIALS_CLOSE_CODE,
    RECONNECT_CLOSE_CODES,
    RECONNECT_LATER_CLOSE_CODE,
    ClientError,
    Ended,
    Refusal,
    Unreachable,
)
from callout_client.feed import Feed
from callout_client.followers import Followers
from callout_client.http_fallback import KEYED_OPS, http_route
from callout_client.listeners import Frame, Listeners, Status, Sync, call_listener
from callout_client.pending import PendingRequests, retry_until_answered

REAUTHENTICATE_CLOSE_CODES = frozenset({4003, 4006})
POLL_WAIT_S = 25
FAILURES_BEFORE_POLLING = 2
"""Polling starts after this number of attempts to open a socket have failed in a row."""


class _SocketEnd(NamedTuple):
    code: int
    reason: str
    joined: bool


class Callout:
    """A connection of one user. It reconnects until ``close`` is called or a close code forbids reconnecting.

    ``url`` is the server's URL (``http://…``). ``token`` is a function that returns an access token. The client calls
    ``token`` before each connection and when a token is about to expire. Its argument is True if the server refused the
    last token; then ``token`` must not return a cached token. If ``token`` raises, the client calls it again later,
    except after a Refusal that is not temporary. ``ticket`` is a function that returns a one-use ticket, and replaces
    ``token`` for sockets. Without ``token`` there are no HTTP requests and no polling. ``cursors`` are the cursors of
    an earlier ``Callout``: the client continues from there. ``subs`` are extra channels, sent at each connection.
    ``api`` shares HTTP connections with other clients. A client with ``api`` does not poll, because a poll uses a
    connection for a long time.
    """

    def __init__(
        self,
        url: str,
        token: TokenProvider | None,
        listeners: Listeners,
        *,
        ticket: TicketProvider | None = None,
        cursors: ZoneCursors | None = None,
        subs: Collection[str] = (),
        api: Api | None = None,
    ) -> None:
        self.status = Status("offline")
        self.session: Frame = {}
        """The last reply to ``connect``; ``{}`` before the first."""
        self.subs = set(subs)
        self._sub_options: dict[str, Frame] = {}
        self.followers = Followers()
        self._listeners = listeners = self.followers.precede(listeners)
        self._connector = Connector(url, token, ticket, api)
        self._feed = Feed(listeners, cursors)
        self._pending, self._backoff = PendingRequests(), Backoff()
        self._background = BackgroundTasks(self.fail)
        self._socket: ClientConnection | None = None
        self._polling: asyncio.Task[None] | None = None
        self._needs_fresh_token, self.user_id = False, ""
        self._connected = asyncio.Event()
        self._main_task: asyncio.Task[None] | None = None
        self._failure: Ended | None = None

    @property
    def cursors(self) -> ZoneCursors:
        """Return the cursor of each zone: the last event that the application has handled."""
        return self._feed.cursors.by_zone

    async def __aenter__(self) -> Callout:
        await self.open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def open(self, patience_s: float = 60.0) -> None:
        """Start or restart the client, and wait until it is connected.

        Raises Ended, or Unreachable if there is no connection after ``patience_s`` seconds. After Unreachable the
        client continues to try.
        """
        if self._main_task is None or self._main_task.done():
            self._failure, self._main_task = None, asyncio.create_task(self._run())
            self._main_task.add_done_callback(lambda task: task.cancelled() or task.exception())
        waiting = asyncio.create_task(self._connected.wait())
        try:
            await asyncio.wait({waiting, self._main_task}, timeout=patience_s, return_when="FIRST_COMPLETED")
        finally:
            waiting.cancel()
        if self._main_task.done():
            self._main_task.result()
        if not self._connected.is_set():
            raise Unreachable(f"{self._connector.url}: not connected in {patience_s:g} s")

    async def ended(self) -> None:
        """Wait until the client is offline. Raises Ended with the reason, unless ``close`` was called."""
        if self._main_task is not None:
            await asyncio.wait({self._main_task})
            if not self._main_task.cancelled():
                self._main_task.result()

    async def close(self) -> None:
        """Close the client. Pending requests raise Ended."""
        if self._main_task is not None:
            self._main_task.cancel()
            await asyncio.gather(self._main_task, return_exceptions=True)
        await self._connector.close()

    async def cut(self) -> None:
        """Abort the socket without a close frame, as if the network were lost. Then the client reconnects."""
        if self._socket is not None:
            self._socket.transport.abort()

    # requests

    async def request(self, op: str, *, patience_s: float = 60.0, **arguments: Any) -> Frame:
        """Send one operation and return the ``ok`` of its reply. After a lost reply or a temporary refusal, send the
        operation again with the same key over the present connection.

        Raises Refusal or Ended. Raises Unreachable if no reply came in ``patience_s`` seconds; the operation may have
        been applied. An operation that changes something has a ``key``, which is generated unless given; errors contain
        the key. ``trace`` (a traceparent) of a claim, a decline or a command is stored with its event.
        """
        if op in KEYED_OPS:
            arguments.setdefault("key", str(uuid4()))
        if op == "subscribe":
            self.subs.add(arguments["channel"])
            self._sub_options[arguments["channel"]] = arguments
        elif op == "unsubscribe":
            self.subs.discard(arguments["channel"])
        try:
            async with asyncio.timeout(patience_s):
                return await retry_until_answered(lambda: self._send_request({"op": op, **arguments}))
        except TimeoutError:
            failure: ClientError = Unreachable(f"no answer to {op} in {patience_s:g} s")
        except ClientError as error:
            if op == "subscribe" and isinstance(error, Refusal):
                self.subs.discard(arguments["channel"])
            failure = error
        failure.key = str(arguments.get("key", ""))
        raise failure

    async def send(self, op: str, **arguments: Any) -> None:
        """Send an operation without a reply, such as a position. Do nothing if there is no socket."""
        await self._send_frame({"op": op, **arguments})

    async def http(
        self, method: str, path: str, body: Frame | None = None, *, key: str = "", patience_s: float = 60.0
    ) -> Frame:
        """Send one HTTP request as the user. Return the decoded response; ``{}`` if it has no body.

        A request that changes something has a key, and is sent again with this key for ``patience_s`` seconds. Raises
        the same errors as ``Api.request``.
        """
        return await self._connector.http(method, path, body, key=key, patience_s=patience_s)

    async def _send_request(self, frame: Frame) -> Frame:
        if self._main_task is None or self._main_task.done():
            raise Ended("the connection is closed", self.status.code or 1000)
        with self._pending.register(frame) as (number, reply):
            await self._dispatch(number, frame)
            return await reply

    async def _dispatch(self, number: int, frame: Frame) -> None:
        """Send a pending request now. If there is no connection, the next connection sends it."""
        if self._socket is not None:
            await self._send_frame({"id": number, **frame})
        elif self.status.transport == "polling" and (route := http_route(frame, self.user_id)):
            work = self._connector.http(*route, key=frame.get("key", ""), trace=frame.get("trace", ""), patience_s=0)
            self._pending.settle_with(number, work)

    async def _dispatch_all(self) -> None:
        for number, frame in self._pending.unanswered():
            await self._dispatch(number, frame)

    async def _send_frame(self, frame: Frame) -> None:
        if self._socket is not None:
            with suppress(ConnectionClosed):  # the reading task gets the same error and reconnects
                await self._socket.send(encode(frame), text=True)

    # the connection

    async def _run(self) -> None:
        why = Ended("closed")
        self._set_status(Status("reconnecting"))
        try:
            await self._reconnect_forever()
        except asyncio.CancelledError:
            if self._failure is None:
                raise
            why = self._failure
            raise why from why.__cause__
        except Ended as ended:
            why = ended
            raise
        finally:
            self._connected.clear()
            self._polling = None
            await self._background.cancel()
            self._pending.fail_all("the connection is closed", why.code)
            self._set_status(Status("offline", code=why.code, reason=str(why)))

    def fail(self, fault: Ended) -> None:
        """End the client with this error."""
        if self._failure is None and self._main_task is not None:
            self._failure = fault
            self._main_task.cancel()

    async def _reconnect_forever(self) -> None:
        failed = 0
        while True:
            end = await self._connect_once()
            if end.code not in RECONNECT_CLOSE_CODES:
                raise Ended(f"closed with {end.code} {end.reason}".rstrip(), end.code)
            self._needs_fresh_token |= end.code in REAUTHENTICATE_CLOSE_CODES
            failed = 0 if end.joined else failed + 1
            if failed >= FAILURES_BEFORE_POLLING and self._polling is None and self._connector.may_poll:
                self._feed.forget_socket()
                self._polling = self._background.start(self._poll())
            if self._polling is None:
                self._connected.clear()
                self._set_status(Status("reconnecting", code=end.code, reason=end.reason))
            await asyncio.sleep(self._backoff.next_s(later=end.code == RECONNECT_LATER_CLOSE_CODE))

    async def _connect_once(self) -> _SocketEnd:
        """Connect and read until the socket closes. Return how it ended; the code is 1006 without a close frame."""
        code, reason, joined = 1006, "", False
        try:
            async with await self._connector.create_socket() as socket:
                if self._polling is not None:
                    await self._background.cancel(self._polling)
                    self._polling = None
                hello: Frame = {
                    "cursors": self.cursors,
                    "subs": [self._sub_options.get(sub, sub) for sub in sorted(self.subs)],
                }
                if last := self.session.get("session"):  # the server may count the old socket as open
                    hello["replaces"] = last
                ok = await self._connector.handshake(socket, hello, fresh=self._needs_fresh_token)
                joined = True
                await self._handle_connect_reply(socket, ok)
                # The server pings, so silence means that the connection is dead.
                silence_s = 2 * ok.get("ping", 25) + ok.get("pong", 10)
                while True:
                    async with asyncio.timeout(silence_s):
                        text = await socket.recv()
                    self._handle_frame(decode(text))
        except ConnectionClosed as closed:
            if closed.rcvd:
                code, reason = closed.rcvd.code, closed.rcvd.reason
        except (Refusal, Unreachable) as failure:
            if isinstance(failure, Refusal) and not failure.temporary:
                raise Ended(str(failure), BAD_CREDENTIALS_CLOSE_CODE) from failure
            code, reason = 1013, str(failure)
        except (OSError, InvalidHandshake, TimeoutError, EOFError) as error:
            reason = str(error) or type(error).__name__
        finally:
            if joined:
                self._socket = None
                await self._background.cancel()
        return _SocketEnd(code, reason, joined)

    async def _handle_connect_reply(self, socket: ClientConnection, ok: Frame) -> None:
        call_listener(self._listeners.joined, ok)
        self.session, self.user_id, self._needs_fresh_token = ok, ok["user"]["id"], False
        self.subs.difference_update(refused["channel"] for refused in ok.get("refused", ()))
        zones = ok.get("zones", {})
        lost = self._feed.join_zones(zones)
        self._backoff.reset()
        self._socket = socket
        self._connected.set()
        self._set_status(Status("connected", "socket"))
        if lost:
            self._background.start(self._resync(lost, {zone: zones[zone].get("reason") for zone in lost}))
        await self._dispatch_all()

    async def _resync(self, heads: ZoneCursors, reasons: dict[str, str | None]) -> None:
        """Request a snapshot, and deliver the snapshot and the pushes that wait for it."""
        snapshot, error = None, None
        try:
            snapshot = await self.http("GET", "/v1/sync", patience_s=inf)
        except Refusal as refusal:
            error = refusal
        if self._feed.deliver_snapshot(heads, Sync(tuple(heads), reasons, snapshot, error)):
            await self.cut()

    def _handle_frame(self, frame: Frame) -> None:
        if not frame:
            self._background.start(self._send_frame({}))
        elif "id" in frame:
            self._pending.handle_reply(frame)
        elif "type" in frame:
            self._feed.deliver_push(frame)
            if frame["type"] == "token.expiring" and not self._connector.uses_ticket:
                self._background.start(self._refresh())
        elif "epoch" in frame:
            self._feed.advance_to_head(frame)

    async def _refresh(self) -> None:
        """Renew the token. If this fails, the server closes with 4003, and the client connects with a new token."""
        with suppress(ClientError):
            await self._send_request({"op": "refresh", "token": await self._connector.bearer_token(True)})

    # without a socket

    async def _poll(self) -> None:
        backoff = Backoff()
        while True:
            try:
                await self._poll_once()
                backoff.reset()
            except (Refusal, Unreachable) as failure:
                if isinstance(failure, Refusal) and failure.close_code:
                    raise Ended(str(failure), failure.close_code) from failure
                self._connected.clear()
                self._set_status(Status("reconnecting", reason=str(failure)))
                await asyncio.sleep(backoff.next_s())

    async def _poll_once(self) -> None:
        """Poll once. The first poll does not wait for events, to find out at once whether polling works."""
        if not self.user_id:
            self.user_id = (await self.http("GET", "/v1/me", patience_s=0))["user"]["id"]
        after = f"after={quote(str(self._feed.cursors), safe=':,')}&" if self.cursors else ""
        wait = POLL_WAIT_S if self.status.transport == "polling" else 0
        answer = await self.http("GET", f"/v1/events?{after}wait={wait}", patience_s=0)
        lost = self._feed.deliver_poll(answer)
        if lost:
            await self._resync(lost, dict.fromkeys(lost, answer.get("reason")))
        if self.status.transport != "polling":
            self._connected.set()
            self._set_status(Status("connected", "polling"))
            await self._dispatch_all()

    def _set_status(self, status: Status) -> None:
        self.status = status
        call_listener(self._listeners.status, status)
