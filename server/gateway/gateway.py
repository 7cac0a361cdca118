"""The gateway: who is connected to this node, and the tasks that serve them."""

from __future__ import annotations

import asyncio
import contextlib
from secrets import token_hex
from time import monotonic
from typing import TYPE_CHECKING

import structlog
from starlette.types import Receive, Scope, Send

from engine.clock import now_ms
from engine.errors import CalloutError, Internal, RateLimited
from engine.events import Event, iso
from engine.identity import sockets
from server.gateway import connect, drain, entitlements, handshake, ops, revocation
from server.gateway.connection_slots import ConnectionSlots
from server.gateway.counters import Counters
from server.gateway.frames import JsonFrames, MsgpackFrames
from server.gateway.handshake import AcceptLimiter, PendingSockets
from server.gateway.heartbeat import HeartbeatWheel
from server.gateway.hub import Hub
from server.gateway.position_feed import PositionFeed
from server.gateway.protocol import Close, State
from server.gateway.relay import Relay
from server.gateway.revocation import Revocation
from server.gateway.session import Session
from server.gateway.session_limiter import SessionLimiter
from server.gateway.sse import Heads, SseFrames
from server.gateway.stream_connection import Poll, Stream, StreamHub
from server.gateway.transport import EXTENSION
from server.http.throttle import address_of
from server.schemas.ops import KINDS, Connect, Op, Ping

if TYPE_CHECKING:
    from engine.runtime import Engine
    from engine.types import Principal

COLD = 32
"""Clients whose past is looked up at once; the others wait their turn."""
START_S = 5.0
FINISH_S = 5.0
"""For commands in hand when the gateway stops."""
TAGS = {kind: tag for tag, kind in KINDS.items()}

log = structlog.get_logger(__name__)


class Gateway:
    """All sockets of one node. ``start`` before ``serve``; ``stop`` before the server closes its
    connections.
    """

    relay: Relay
    hub: Hub
    pulse: HeartbeatWheel

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.counters = Counters()
        self.sessions: set[Session] = set()
        self.limited = engine.settings.limits == "on"
        self.draining = False
        self.cold = asyncio.Semaphore(COLD)
        kinds = (JsonFrames(engine.blueprints), MsgpackFrames(engine.blueprints))
        self.hubs = {frames.subprotocol: Hub(frames, self.counters) for frames in kinds}
        self.hub = self.hubs[JsonFrames.subprotocol]
        self.turnstile = AcceptLimiter(engine.settings.accepts)
        self.doorstep = PendingSockets(engine.settings.address_sockets)
        self.streams = StreamHub(SseFrames(engine.blueprints, self.heads), self.counters)
        self.pulse = HeartbeatWheel(self)
        self.seats = ConnectionSlots(self)
        self.revocation = Revocation(self)
        self.all_hubs: tuple[Hub, ...] = (*self.hubs.values(), self.streams)
        self.relay = Relay(
            engine,
            self.all_hubs,
            self.counters,
            hidden=self._hidden,
            ending=lambda event: entitlements.end_subscriptions(self, event),
            resync=self._resync,
            renamed=self._renamed,
        )
        self.live = PositionFeed(self)
        self._show()
        self._background: list[asyncio.Task[None]] = []
        self._work: set[asyncio.Task[None]] = set()
        self._beats: dict[Hub, tuple[Heads, bytes]] = {}

    def _show(self) -> None:
        metrics, relay = self.engine.metrics, self.relay
        self.counters.show(metrics)
        metrics.reading("sockets", "WebSockets open", lambda: len(self.sessions) - self.streams.count)
        metrics.reading("queue_bytes", "Bytes that wait for slow clients", self._queued)
        metrics.reading("streams", "Event streams and waiting polls open", lambda: self.streams.count)
        metrics.reading("relay_lag_seconds", "From an event's commit to its hand-off", lambda: relay.lag_s)
        metrics.reading("relay_deaf", "1 while there is no word from Redis", lambda: float(relay.deaf))

    def _queued(self) -> float:
        return sum(session.waiting_bytes for session in self.pulse.behind)

    async def start(self) -> None:
        """Begin to relay; give it ``START_S`` to read the window of the log, until when connections get 503."""
        tasks = (self.relay.run(), self.pulse.run(), self.pulse.touch_forever())
        work = (*tasks, self.live.run(), self.live.sweep_forever(), self.revocation.run())
        self._background = [asyncio.create_task(task) for task in work]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_S):
                await self.relay.window_read.wait()

    async def drain(self) -> None:
        """Refuse the new, and send everybody away, over ``drain_s`` and each after his last answer; what takes longer
        than ``FINISH_S`` beyond is left to ``stop``. The relay goes on meanwhile.
        """
        self.draining = True
        await drain.send_away(self.sessions, self.engine.settings.drain_s)
        if self._work:
            await asyncio.wait(self._work, timeout=FINISH_S)

    async def stop(self, code: int = Close.DRAINING) -> None:
        """The same at once: let commands in hand finish, and close every session with ``code``. May be repeated."""
        self.draining = True
        if self._work:
            await asyncio.wait(self._work, timeout=FINISH_S)
        for session in list(self.sessions):
            session.close(code, "draining")
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._background = []

    # the handshake

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """The ASGI application of ``/v1/ws``: check, accept, attach a session, and be gone."""
        headers = handshake.headers_of(scope)
        await receive()
        why = self._turn_away(scope, headers)
        if why is not None:
            self.counters.refused[why] += 1
            return await handshake.refuse(send, why)
        subprotocol = handshake.subprotocol_of(scope)
        await send({"type": "websocket.accept", "subprotocol": subprotocol})
        hub = self.hubs[subprotocol or ""]
        session = Session(self, f"ses_{token_hex(8)}", handshake.credentials_of(scope, headers), hub)
        session.own(scope["extensions"][EXTENSION](session))
        self.counters.accepted += 1
        self.sessions.add(session)
        self.doorstep.take(session, address_of(scope))
        self.pulse.expect_connect(session)
        return None

    def _turn_away(self, scope: Scope, headers: dict[bytes, str]) -> str | None:
        if not handshake.is_welcome(headers, self.engine.settings.origins):
            return "origin"
        if handshake.subprotocol_of(scope) is None:
            return "subprotocol"
        why = self._no_room()
        if why is None and self.limited:
            if self.doorstep.is_full(address_of(scope)):
                return "unknown"
            return None if self.turnstile.let_in() else "rush"
        return why

    def check_room(self) -> None:
        """Raises Unavailable where nobody new can be served, and says why."""
        why = self._no_room()
        if why is not None:
            self.counters.refused[why] += 1
            raise handshake.unavailable(why)

    def _no_room(self) -> str | None:
        if self.draining:
            return "draining"
        if self.relay.deaf:
            return "deaf"
        return "full" if len(self.sessions) >= self.engine.settings.max_sockets else None

    # what sessions ask

    def ping(self, session: Session, op: Ping) -> None:
        """Answered in line with the pushes, so that the number is what the client must have by then."""
        if self.limited:
            session.restraint = session.restraint or SessionLimiter()
            try:
                session.restraint.ping(monotonic())
            except RateLimited as error:
                return self._hold_off(session, op, error)
        ok = {"now": iso(now_ms()), "n": session.pushes}
        if op.id is not None:
            session.push(session.hub.frames.reply(op.id, ok))
        return None

    def work(self, session: Session, op: Op) -> None:
        """Begin what takes longer. It goes on if the session ends."""
        task = asyncio.create_task(self._perform(session, op))
        self._work.add(task)
        task.add_done_callback(self._work.discard)

    async def _perform(self, session: Session, op: Op) -> None:
        began = monotonic()
        try:
            if isinstance(op, Connect):
                await self._join(session, op)
            else:
                session.reply(op, await ops.perform(self, session, op))
        except RateLimited as error:
            self._hold_off(session, op, error)
        except CalloutError as error:
            if op.id is not None:
                session.refuse(op.id, error)
        except Exception:  # the task's boundary: a bug of ours is told as such, and the session lives on
            log.exception("op_failed", op=type(op).__name__, session=session.id)
            if op.id is not None:
                session.refuse(op.id, Internal())
        finally:
            self.counters.commands[TAGS[type(op)]].add(monotonic() - began)
            session.done()

    def _hold_off(self, session: Session, op: Op, error: RateLimited) -> None:
        """Told only to one who asked for an answer; one who does not stop is sent away."""
        session.restraint = session.restraint or SessionLimiter()
        over = session.restraint.refused(ops.limit_of(op), error, monotonic())
        if op.id is not None:
            session.refuse(op.id, error)
        if over:
            session.close(Close.TOO_MANY, "too many requests")

    def put_off(self, session: Session) -> None:
        """Count a message with a wrong value. That is no reason to send a client away for good, but a flood is one to
        send it away for now.
        """
        session.restraint = session.restraint or SessionLimiter()
        if self.limited and session.restraint.count(monotonic()):
            session.close(Close.TOO_MANY, "too many requests")

    async def _join(self, session: Session, op: Connect) -> None:
        try:
            await connect.join(self, session, op)
        except CalloutError:
            session.unlucky = True
            raise
        finally:
            if session.state is State.JOINING:
                session.state = State.ACCEPTED
                self.pulse.expect_connect(session)

    # what sessions are told

    def joined(self, session: Session, claim: sockets.Claim = sockets.NO_CLAIM) -> None:
        """From the next event on, ``session`` hears of its channels."""
        session.hub.join(session, session.channels)
        self.doorstep.release(session)
        self.pulse.joined(session)
        if self.limited:
            self.seats.take(session, claim)

    def sockets_of(self, user: str) -> list[Session]:
        """A user's live sockets at this gateway, of either subprotocol."""
        return [session for hub in self.hubs.values() for session in hub.members(f"user:{user}")]

    def sessions_of(self, user: str) -> list[Session]:
        """These, and his streams and polls."""
        return [*self.sockets_of(user), *self.streams.of(user)]

    def renew(self, session: Session, principal: Principal) -> None:
        """The session goes on under a fresh token of the same user. Of one that lasts no longer than the last it is not
        warned twice: a client that has no better one would be asked for it again and again.
        """
        is_later = principal.expires > session.caller.expires
        self.pulse.expiry.forget(session)
        session.principal = principal
        if session.state is State.LIVE:
            self.pulse.expiry.watch(session, late=is_later)

    def attend(self, stream: Stream) -> None:
        """The same of a stream or poll. Polls are counted here: over the limit his oldest is answered early."""
        stream.state = State.LIVE
        self.sessions.add(stream)
        self.streams.join(stream, stream.channels)
        self.pulse.joined(stream)
        self.streams.attend(stream)
        if self.limited and not isinstance(stream, Poll):
            self.seats.take(stream)
        elif self.limited:
            polls = [one for one in self.streams.of(stream.caller.id) if isinstance(one, Poll)]
            if len(polls) > self.engine.settings.user_sockets:
                polls[0].close(Close.TOO_MANY, "more polls than one may have")

    def listen(self, session: Session, channel: str) -> None:
        """Add a channel to a live session; a closed one hears nothing."""
        if session.state is State.LIVE and channel not in session.channels:
            session.channels += (channel,)
            session.hub.join(session, (channel,))

    def unlisten(self, session: Session, channel: str) -> None:
        """Take it away again."""
        session.channels = tuple(name for name in session.channels if name != channel)
        session.hub.leave(session, (channel,))

    def forget(self, session: Session, code: int) -> None:
        """``session`` has ended with ``code``: it is nowhere any more."""
        self.counters.closes[code] += 1
        self.sessions.discard(session)
        self.doorstep.release(session)
        session.hub.leave(session, session.channels)
        self.pulse.left(session)
        self.seats.give_up(session)

    def heads(self) -> Heads:
        """Where everybody stands who has been sent everything, in each zone that is open."""
        return [(tail.zone, tail.head) for tail in self.relay.tails.values() if tail.open]

    def beat(self, hub: Hub) -> bytes:
        """The head of every zone and the ping, in one piece, the same bytes for everybody in ``hub``."""
        heads, known = self.heads(), self._beats.get(hub)
        if known is None or known[0] != heads:
            known = self._beats[hub] = (heads, hub.frames.beat(heads))
        return known[1]

    def _hidden(self, event: Event) -> None:
        """A ``session.`` event: for gateways, never for clients."""
        if event.type == sockets.REPLACED:
            self.seats.replaced(event)
        elif event.type == sockets.OVER_LIMIT:
            self.seats.crowded(event)
        elif event.type == entitlements.WORK:
            entitlements.take_work(self, event)
        elif event.type == revocation.REVOKED:
            self.revocation.hear(event)

    def _renamed(self) -> None:
        """An epoch began where the last one ended: everybody's cursor moves to it before anything of it is heard."""
        heads = self.heads()
        marks = {hub: hub.frames.heads(heads) for hub in self.all_hubs}
        for session in self.sessions:
            if session.state in (State.LIVE, State.LEAVING):
                session.mark(marks[session.hub])

    def _resync(self, why: str) -> None:
        """Everybody: what they were sent may not be what the log holds, or not all of it."""
        self.live.forget()
        for session in list(self.sessions):
            session.close(Close.RESYNCHRONISE, f"resynchronise: {why}")
