"""A gateway's sockets and streams as they are counted over all gateways (engine/sockets.py).

Beside the connection, never before it: a client that connects waits for nothing, and costs Redis one call. Redis alone
says who goes (two judges sent away two); what it could not be told is told with the next touch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from engine import sockets
from engine.errors import CalloutError
from engine.events import Event
from server.ws.protocol import Close, State
from server.ws.stream import Stream

if TYPE_CHECKING:
    from server.ws.gateway import Gateway
    from server.ws.session import Session

AT_ONCE = 32
"""Seats taken at the same time by those who could not be counted before: what goes to Redis in one write."""

log = structlog.get_logger(__name__)


class _Replaced(msgspec.Struct):
    session: str = ""


class Seats:
    """By session; None where Redis is yet to be told."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._held: dict[Session, sockets.Seat | None] = {}
        self._ended: list[sockets.Seat] = []
        self._telling: set[asyncio.Task[None]] = set()

    def take(self, session: Session) -> None:
        """``session`` has joined. Who ended before is given back first, so that nobody has to go for him."""
        self._clear()
        self._held[session] = None
        self._tell(self._take(session))

    def give_up(self, session: Session) -> None:
        """``session`` has ended; one that never joined had none."""
        seat = self._held.pop(session, None)
        if seat is not None:
            self._ended.append(seat)
            if len(self._ended) == 1:  # when all go at once, Redis is told once
                asyncio.get_running_loop().call_soon(self._clear)

    def _clear(self) -> None:
        ended, self._ended = self._ended, []
        if ended:
            self._tell(sockets.closed(self._gateway.engine, ended))

    async def touch(self) -> None:
        """Hold all of them for another lease, and take those that could not be taken yet. Raises CalloutError.

        Who is still there is asked again before each call: one that ended during the last must not get back the seat
        that it gave up.
        """
        for some in _by(sockets.BATCH, [*self._held]):
            await sockets.touch(self._gateway.engine, [seat for one in some if (seat := self._held.get(one))])
        for some in _by(AT_ONCE, [one for one, seat in self._held.items() if seat is None]):
            await asyncio.gather(*(self._take(one) for one in some if one in self._held))

    async def _take(self, session: Session) -> None:
        engine, user = self._gateway.engine, session.caller.id
        most, streams = engine.settings.user_sockets, isinstance(session, Stream)
        seat = await sockets.opened(engine, user, session.id, most, streams=streams)
        if session.state is State.CLOSED:
            await sockets.closed(engine, [seat])
        else:
            self._held[session] = seat

    def replaced(self, event: Event) -> None:
        """A socket or stream over the limit goes, if it is one of ours."""
        told = msgspec.json.decode(event.data, type=_Replaced).session
        for channel in event.to:
            for session in self._gateway.sessions_of(channel.removeprefix("user:")):
                if session.id == told:
                    session.close(Close.REPLACED, "replaced")

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
