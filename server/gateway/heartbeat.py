"""One timer for all sessions: pings, missing pongs, deadlines, and technicians' signs of life.

A timer per session costs memory and a heap operation each. Here each session is in one slot of a wheel that turns once
a ping interval. So a tick processes only the sessions of one slot, and sends all of them the same bytes.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
from functools import partial
from math import ceil
from time import monotonic, time

import structlog

from engine.errors import CalloutError
from engine.identity.signs_of_life import SignsOfLife
from engine.process.loops import not_cancelled
from engine.runtime import Engine
from engine.technicians import lease_renewal
from server.gateway.hub import Hub
from server.gateway.protocol import CONNECT_TIMEOUT_S, Close, State
from server.gateway.send_buffer import SendBuffer
from server.gateway.session import Session
from server.gateway.token_expiry import TokenExpiry

WHEEL_SLOTS = 25
MAX_RENEWED_PER_CALL = 500
"""The most signs of life in one script call: a longer call would delay the zone's other commands."""

log = structlog.get_logger(__name__)


class HeartbeatWheel:
    """The timer of one gateway, with the sessions in its slots."""

    def __init__(
        self,
        engine: Engine,
        hubs: Collection[Hub],
        behind: Collection[SendBuffer],
        touch_slots: Callable[[], Awaitable[None]],
    ) -> None:
        settings = engine.settings
        self._engine = engine
        self._hubs = hubs
        self._behind = behind
        self._touch_slots = touch_slots
        self._tick_s = settings.ping_s / WHEEL_SLOTS
        self._pong_slots = min(WHEEL_SLOTS - 1, max(1, ceil(settings.pong_s / self._tick_s)))
        self._slots: list[set[Session]] = [set() for _ in range(WHEEL_SLOTS)]
        self._turn = 0
        self._next_slot = 0
        self._connect_deadlines: dict[Session, float] = {}
        self._technicians_left: set[str] = set()
        """Technicians that sent something since the last touch, on sockets that have ended since then. They are still
        touched, so that their lease runs from what they sent.
        """
        self.signs_of_life = SignsOfLife(engine)
        self.expiry = TokenExpiry(settings)

    def expect_connect(self, session: Session) -> None:
        """Close ``session`` if it does not send ``connect`` within ten seconds from now."""
        self._connect_deadlines.pop(session, None)
        self._connect_deadlines[session] = monotonic() + CONNECT_TIMEOUT_S

    def add_session(self, session: Session) -> None:
        """Call this when ``session`` has joined: its pings begin, and the expiry of its token is scheduled."""
        self._connect_deadlines.pop(session, None)
        session.slot = self._next_slot
        self._next_slot = (self._next_slot + 1) % WHEEL_SLOTS
        self._slots[session.slot].add(session)
        self.signs_of_life.note(session.caller.id, session.received_at)
        self.expiry.schedule(session)

    def remove_session(self, session: Session) -> None:
        """Call this when ``session`` has ended: remove it from the wheel."""
        self._connect_deadlines.pop(session, None)
        if session.slot >= 0:
            self._slots[session.slot].discard(session)
            self.signs_of_life.note(session.caller.id, session.received_at)
            if session.received_since_touch and session.caller.role == "technician":
                self._technicians_left.add(session.caller.id)
        self.expiry.cancel(session)

    async def run(self) -> None:
        """Tick forever. Missed ticks are not repeated."""
        while not_cancelled():
            await asyncio.sleep(self._tick_s)
            try:
                self.tick()
            except Exception:  # the task's boundary: one bad session must not stop the others' pings
                log.exception("pulse_failed")

    def tick(self) -> None:
        """Advance the wheel by one slot. Ping the sessions in this slot, and close the sessions that did not answer
        their ping, that are too slow, that sent no ``connect`` in time, or whose token has expired.
        """
        self._turn = (self._turn + 1) % WHEEL_SLOTS
        now = monotonic()
        self._close_unanswered(self._slots[(self._turn - self._pong_slots) % WHEEL_SLOTS])
        self._note_signs(now)
        self._ping_sessions(self._slots[self._turn])
        for session in [session for session in self._behind if session.is_late(now)]:
            session.close(Close.TOO_SLOW, "too slow")
        self._close_unconnected(now)
        self.expiry.tick(time())

    def _close_unanswered(self, slot: set[Session]) -> None:
        for session in [session for session in slot if not session.received_since_ping]:
            if session.has_unsent:
                session.close(Close.TOO_SLOW, "no pong, and not reading")
            else:
                session.close(Close.NO_PONG, "no pong")

    def _ping_sessions(self, slot: set[Session]) -> None:
        for session in slot:
            session.heartbeat()

    def _close_unconnected(self, now: float) -> None:
        """Close the sessions whose time for ``connect`` is over. A session that is joining is not late. A session whose
        ``connect`` failed because Redis was unavailable is closed with 1013 (try again later).
        """
        for session, until in list(self._connect_deadlines.items()):
            if until > now:
                break
            del self._connect_deadlines[session]
            if session.state is State.ACCEPTED:
                code = Close.TRY_AGAIN if session.connect_failed else Close.NO_CONNECT
                session.close(code, "no connect in time")

    # signs of life

    def _note_signs(self, now: float) -> None:
        """Note the last signs of life of the sessions that were pinged a tick ago, and again when the time for their
        pong is over, because a pong may be late. Therefore each session is checked twice in a ping interval, even if
        its client is busy. A sign that an earlier look has found is not noted again.
        """
        ticks_since_look = ((1, WHEEL_SLOTS - self._pong_slots + 1), (self._pong_slots, self._pong_slots - 1))
        for ticks_since_ping, ticks in ticks_since_look:
            last_look_at = now - ticks * self._tick_s
            for session in self._slots[(self._turn - ticks_since_ping) % WHEEL_SLOTS]:
                if session.received_at > last_look_at:
                    self.signs_of_life.note(session.caller.id, session.received_at)

    async def renew_leases_forever(self) -> None:
        """Once a ping interval, renew the presence leases of the technicians that sent something, and the leases of the
        open sockets. If one of the two fails, the other is still done, and the failed one is repeated after the next
        interval.
        """
        pending: set[str] = set()
        while not_cancelled():
            await asyncio.sleep(self._engine.settings.ping_s)
            pending |= self._active_technicians()
            for touch in (partial(self._renew_presence, pending), self._touch_slots):
                try:
                    await touch()
                except CalloutError as error:
                    log.warning("touch_failed", error=str(error), technicians=len(pending))
                except Exception:  # the task's boundary
                    log.exception("touch_failed")

    def _active_technicians(self) -> set[str]:
        """Return the technicians that sent something since the last call."""
        active, self._technicians_left = self._technicians_left, set()
        for hub in self._hubs:
            for session in hub.members("role:technician"):
                if session.received_since_touch:
                    session.received_since_touch = False
                    active.add(session.caller.id)
        return active

    async def _renew_presence(self, pending: set[str]) -> None:
        while pending:
            part = list(pending)[:MAX_RENEWED_PER_CALL]
            await lease_renewal.renew_leases_in_own_zones(self._engine, part)
            pending.difference_update(part)
