"""The gateway: the clients that are connected to this node, and the background tasks that serve them.

server/gateway/socket_endpoint.py accepts sockets, server/gateway/dispatch.py executes their requests, and
server/gateway/stream_requests.py serves streams and polls. All three use the gateway. The gateway imports none of them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from engine.audit.row_checker import ERASED_TYPE
from engine.domain.positions import PublishedFix
from engine.events import Event
from engine.identity import sockets
from engine.runtime import Engine
from engine.types import Principal
from server.gateway import drain, entitlements, gateway_metrics, handshake, large_rooms, revocation
from server.gateway.connection_slots import ConnectionSlots
from server.gateway.counters import Counters
from server.gateway.event_stream import EventStream, EventStreamHub, PollSession
from server.gateway.frames import JsonFrames, MsgpackFrames, PayloadEncoder
from server.gateway.handshake import PendingSockets
from server.gateway.heartbeat import HeartbeatWheel
from server.gateway.hub import Hub
from server.gateway.large_rooms import LargeRooms
from server.gateway.live_feed import LiveFeed
from server.gateway.live_notices import notice_handlers
from server.gateway.position_feed import PositionFeed
from server.gateway.presence_feed import PresenceFeed
from server.gateway.protocol import Close, State
from server.gateway.relay import Relay
from server.gateway.revocation import Revocation
from server.gateway.send_buffer import BufferHub, SendBuffer
from server.gateway.session import Session
from server.gateway.sse import Heads, SseFrames
from server.gateway.zone_maps import ZoneMaps

MAX_REPLAY_READS = 32
"""How many clients' missed events are read from Redis or SQL at the same time. The other clients wait."""
START_TIMEOUT_S = 5.0
FINISH_TIMEOUT_S = 5.0
"""How many seconds running commands may take when the gateway stops."""


class Gateway:
    """All clients of one node. Call ``start`` before any client is served, and ``stop`` before the connections close.
    ``count_other_sockets`` returns how many sockets the server's other workers have."""

    def __init__(self, engine: Engine, count_other_sockets: Callable[[], int] = lambda: 0) -> None:
        self.engine, self._count_other_sockets = engine, count_other_sockets
        self.counters = Counters()
        self.sessions: set[Session] = set()
        self.sessions_with_backlog: set[SendBuffer] = set()
        """The sessions with frames that the transport did not accept."""
        self.running_ops: set[asyncio.Task[None]] = set()
        self.has_limits = engine.settings.limits == "on"
        self.draining = False
        self.replay_reads = asyncio.Semaphore(MAX_REPLAY_READS)
        self.payloads = PayloadEncoder(engine.blueprints)
        kinds = (JsonFrames(self.payloads), MsgpackFrames(self.payloads))
        self.hubs = {frames.subprotocol: Hub(frames, self.counters) for frames in kinds}
        self.hub = self.hubs[JsonFrames.subprotocol]
        self.streams = EventStreamHub(SseFrames(self.payloads, self.heads), self.counters)
        self.all_hubs: tuple[Hub, ...] = (*self.hubs.values(), self.streams)
        self.pending = PendingSockets(engine.settings.address_sockets)
        self.slots = ConnectionSlots(engine, self.sessions_of)
        self.wheel = HeartbeatWheel(engine, self.hubs.values(), self.sessions_with_backlog, self.slots.renew_all_slots)
        self.revocation = Revocation(engine, self.sessions, self.sessions_of)
        self.large_rooms = LargeRooms(engine)
        self.maps = ZoneMaps(engine, self.payloads)
        self.relay = Relay(
            engine,
            self.all_hubs,
            self.counters,
            encode=self.payloads.encode_event,
            on_internal_event=self._apply_internal_event,
            before_event=(lambda event: entitlements.end_subscriptions(event, self.all_hubs), self.maps.note_event),
            on_resync=self._close_to_resync,
            on_new_epoch=self._push_heads,
        )
        self.positions = PositionFeed(engine, self.all_hubs, self.relay.tails, self.payloads, self.counters)
        notices = notice_handlers(self.all_hubs, self.payloads)
        self.live = LiveFeed(engine, self.counters, {PublishedFix: self.positions.handle_fix, **notices})
        self.presence = PresenceFeed(engine, tuple(self.hubs.values()), self.payloads)
        gateway_metrics.register(engine.metrics, self.counters, self.relay, self.streams, self.presence)
        gateway_metrics.register_sessions(engine.metrics, self.sessions, self.streams, self.sessions_with_backlog)
        self._background: list[asyncio.Task[None]] = []
        self._heartbeats: dict[BufferHub, tuple[Heads, bytes]] = {}

    async def start(self) -> None:
        """Start the background tasks, and wait up to ``START_TIMEOUT_S`` until the relay has filled the replay buffers
        from the logs. Connections get 503 until then.
        """
        tasks = (self.relay.run(), self.wheel.run(), self.wheel.renew_leases_forever())
        feeds = (self.live.run(), self.positions.resend_stale_positions_forever(), self.presence.run())
        work = (*tasks, *feeds, self.wheel.signs_of_life.run(), self.revocation.run())
        self._background = [asyncio.create_task(task) for task in work]
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(START_TIMEOUT_S):
                await self.relay.window_read.wait()

    async def drain(self, within_s: float | None = None) -> None:
        """Refuse new clients and close all sessions within ``within_s`` seconds (None: ``drain_s``), each after its
        last reply. The relay continues meanwhile. ``stop`` ends the commands that take ``FINISH_TIMEOUT_S`` longer.
        """
        self.draining = True
        within_s = self.engine.settings.drain_s if within_s is None else within_s
        await drain.close_all(self.sessions, 0 if self.engine.store.is_abandoned else within_s)
        if self.running_ops:
            await asyncio.wait(self.running_ops, timeout=FINISH_TIMEOUT_S)

    async def stop(self, code: int = Close.DRAINING) -> None:
        """Let running commands finish and close all sessions at once with ``code``. A second call has no effect."""
        self.draining = True
        if self.running_ops:
            await asyncio.wait(self.running_ops, timeout=FINISH_TIMEOUT_S)
        for session in list(self.sessions):
            session.close(code, "draining")
        self.maps.stop()
        for task in self._background:
            task.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        self._background = []

    # admission of clients

    def refusal_reason(self) -> str | None:
        """Return why no new client can be served (a reason of server/gateway/handshake.py), or None."""
        if self.draining:
            return "draining"
        if self.relay.is_disconnected:
            return "deaf"
        most = self.engine.settings.max_sockets - self._count_other_sockets()
        return "full" if len(self.sessions) >= most else None

    def check_accepting(self) -> None:
        """Raise Unavailable with the reason if no new client can be served."""
        if (why := self.refusal_reason()) is not None:
            self.counters.refused_handshakes[why] += 1
            raise handshake.unavailable_error(why)

    # start and end of sessions

    def add_socket(self, session: Session, device: sockets.ClientDevice = sockets.NO_DEVICE) -> None:
        """Admit a socket whose ``connect`` has succeeded: from now on it receives the events of its channels."""
        session.hub.join(session, session.channels)
        self.presence.restore(session)
        self.pending.remove(session)
        self.wheel.add_session(session)
        if self.has_limits:
            self.slots.open_slot(session, device)

    def add_stream(self, stream: EventStream) -> None:
        """Admit an event stream or a poll: from now on ``stream`` receives the events of its channels. If a poll is one
        more than its user may have open, the user's oldest poll is answered at once.
        """
        stream.state = State.LIVE
        self.sessions.add(stream)
        self.streams.join(stream, stream.channels)
        self.wheel.add_session(stream)
        self.streams.add_stream(stream)
        self.wheel.signs_of_life.note(stream.caller.id)
        if self.has_limits and not isinstance(stream, PollSession):
            self.slots.open_slot(stream)
        elif self.has_limits:
            streams = self.streams.streams_of(stream.caller.id)
            polls = [each for each in streams if isinstance(each, PollSession)]
            if len(polls) > self.engine.settings.user_sockets:
                polls[0].close(Close.TOO_MANY, "more polls than one may have")

    def renew_token(self, session: Session, principal: Principal) -> None:
        """Replace the session's token with a fresh one of the same user. If the fresh token does not expire later than
        the last, the client is not warned again: a client without a better token would be warned again and again.
        """
        is_later = principal.expires > session.caller.expires
        self.wheel.expiry.cancel(session)
        session.principal = principal
        if session.state is State.LIVE:
            self.wheel.expiry.schedule(session, warn_late=is_later)

    def remove_session(self, session: Session, code: int) -> None:
        """Remove ``session``, which has ended with the close code ``code``, from everything in which the gateway stores
        sessions.
        """
        self.counters.closes_by_code[code] += 1
        self.sessions.discard(session)
        self.sessions_with_backlog.discard(session)
        self.pending.remove(session)
        session.hub.leave(session)
        self.maps.remove_session(session)
        self.wheel.remove_session(session)
        self.slots.release_slot(session)

    def sockets_of(self, user: str) -> list[Session]:
        """Return the connected sockets of a user at this gateway, of all subprotocols."""
        return [session for hub in self.hubs.values() for session in hub.members(f"user:{user}")]

    def sessions_of(self, user: str) -> list[Session]:
        """Return the connected sockets, the streams and the polls of a user at this gateway."""
        return [*self.sockets_of(user), *self.streams.streams_of(user)]

    # what sessions are sent

    def heads(self) -> Heads:
        """Return, for each open zone, the cursor of a client that was sent all events so far."""
        return [(tail.zone, tail.head) for tail in self.relay.tails.values() if tail.is_open]

    def heartbeat(self, hub: BufferHub) -> bytes:
        """Return the head of every zone and the ping, in one piece: the same bytes for all sessions in ``hub``."""
        heads, known = self.heads(), self._heartbeats.get(hub)
        if known is None or known[0] != heads:
            known = self._heartbeats[hub] = (heads, hub.frames.heartbeat_frames(heads))
        return known[1]

    def _apply_internal_event(self, event: Event) -> None:
        """Apply an event of ``INTERNAL_PREFIXES``. Such events are for gateways and are never sent to clients."""
        if event.type == sockets.REPLACED_EVENT:
            self.slots.close_replaced(event)
        elif event.type == sockets.OVER_LIMIT_EVENT:
            self.slots.report_activity(event)
        elif event.type == entitlements.WORK_CHANGED_EVENT:
            entitlements.apply_work_change(event, self.sessions_of)
        elif event.type == large_rooms.CHANGED_EVENT:
            self.large_rooms.apply_change(event, self.sessions_of)
        elif event.type == revocation.REVOKED_EVENT:
            self.revocation.apply_event(event)
        elif event.type == ERASED_TYPE:
            self.relay.tails[event.zone].buffer.clear()  # clients that resume are served from the log and SQL

    def _push_heads(self) -> None:
        """Send the heads of a new epoch that continues the last epoch. This is done before the epoch's first event, so
        that every client's cursor names the new epoch.
        """
        heads = self.heads()
        encoded: dict[BufferHub, bytes] = {hub: hub.frames.head_frames(heads) for hub in self.all_hubs}
        for session in self.sessions:
            if session.state in (State.LIVE, State.LEAVING):
                session.push_heads(encoded[session.hub])

    def _close_to_resync(self, reason: str) -> None:
        """Close all sessions, because what they were sent may differ from the log, or may be incomplete."""
        self.positions.drop_tracks()
        self.large_rooms.forget()
        for session in list(self.sessions):
            session.close(Close.RESYNCHRONISE, f"resynchronise: {reason}")
