"""A gateway's sockets and streams as they are counted over all gateways (engine/identity/sockets.py).

Beside the connection, never before it: a client that connects waits for nothing, and costs Redis one call. Redis alone
says who goes (two judges sent away two); what it could not be told is told with the next touch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from time import monotonic
from typing import Any

import msgspec
import structlog

from engine.errors import CalloutError
from engine.events import Event
from engine.identity import sockets
from engine.runtime import Engine
from engine.types import UserId
from server.gateway.protocol import Close, State
from server.gateway.session import Session
from server.gateway.stream_connection import Stream

SETTLE_S = 0.5
"""For all gateways to tell when they heard of a user's sockets, before some of them go."""
REASONS: dict[int, str] = {Close.TOO_MANY: "more sockets than one may have", Close.REPLACED: "replaced"}
AT_ONCE = 32
"""Seats taken at the same time by those who could not be counted before: what goes to Redis in one write."""

log = structlog.get_logger(__name__)


class _Replaced(msgspec.Struct):
    session: str = ""
    code: int = int(Close.REPLACED)


class ConnectionSlots:
    """By session; None where Redis is yet to be told."""

    def __init__(self, engine: Engine, sessions_of: Callable[[str], list[Session]]) -> None:
        self._engine = engine
        self._sessions_of = sessions_of
        self._held: dict[Session, sockets.Slot | None] = {}
        self._claims: dict[Session, sockets.Claim] = {}
        """What sessions that are yet to be counted said of themselves."""
        self._ended: list[sockets.Slot] = []
        self._telling: set[asyncio.Task[None]] = set()

    def take(self, session: Session, claim: sockets.Claim = sockets.NO_CLAIM) -> None:
        """``session`` has joined. Who ended before is given back first, so that nobody has to go for him."""
        self._clear()
        self._held[session] = None
        self._claims[session] = claim
        self._tell(self._take(session))

    def give_up(self, session: Session) -> None:
        """``session`` has ended; one that never joined had none."""
        seat = self._held.pop(session, None)
        self._claims.pop(session, None)
        if seat is not None:
            self._ended.append(seat)
            if len(self._ended) == 1:  # when all go at once, Redis is told once
                asyncio.get_running_loop().call_soon(self._clear)

    def _clear(self) -> None:
        ended, self._ended = self._ended, []
        if ended:
            self._tell(sockets.release_slots(self._engine, ended))

    async def touch(self) -> None:
        """Hold all of them for another lease, and take those that could not be taken yet. Raises CalloutError.

        Who is still there is asked again before each call: one that ended during the last must not get back the seat
        that it gave up.
        """
        for some in _by(sockets.BATCH, [*self._held]):
            await self._touch(some)
        for some in _by(AT_ONCE, [one for one, seat in self._held.items() if seat is None]):
            await asyncio.gather(*(self._take(one) for one in some if one in self._held))

    async def _touch(self, sessions: Sequence[Session]) -> None:
        now = monotonic()
        held = ((seat, one.silence_ms(now)) for one in sessions if (seat := self._held.get(one)))
        await sockets.touch(self._engine, list(held))

    async def _take(self, session: Session) -> None:
        engine, user = self._engine, session.caller.id
        most, streams = engine.settings.user_sockets, isinstance(session, Stream)
        claim = self._claims.get(session, sockets.NO_CLAIM)
        seat, over = await sockets.open_slot(engine, user, session.id, most, claim, streams=streams)
        if session.state is State.CLOSED:
            return await sockets.release_slots(engine, [seat])
        self._held[session] = seat
        self._claims.pop(session, None)
        if over:
            self._tell(self._settle(user, most, streams=streams))
        return None

    async def _settle(self, user: UserId, most: int, *, streams: bool) -> None:
        await asyncio.sleep(SETTLE_S)
        await sockets.settle(self._engine, user, most, streams=streams)

    def crowded(self, event: Event) -> None:
        """Tell at once when the user's sockets here were heard of."""
        for channel in event.to:
            his = self._sessions_of(channel.removeprefix("user:"))
            if his:
                self._tell(self._touch(his))

    def replaced(self, event: Event) -> None:
        """A socket or stream that has to go is closed, if it is one of ours."""
        told = msgspec.json.decode(event.data, type=_Replaced)
        for channel in event.to:
            for session in self._sessions_of(channel.removeprefix("user:")):
                if session.id == told.session:
                    session.close(told.code, REASONS.get(told.code, "replaced"))

    def _tell(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_ride_out(work))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


def _by(count: int, sessions: Sequence[Session]) -> Iterator[Sequence[Session]]:
    for start in range(0, len(sessions), count):
        yield sessions[start : start + count]


async def _ride_out(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except CalloutError as error:
        log.info("seat_untold", error=str(error))
    except Exception:  # the task's boundary
        log.exception("seat_untold")
