"""A gateway's sockets as they are counted over all gateways (engine/sockets.py).

Beside the connection, never before it: a client that connects waits for nothing, and costs Redis one call. While Redis
is away the gateway's own count holds alone; what could not be told is told with the next touch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from engine import sockets
from engine.errors import CalloutError
from engine.events import Event
from server.ws.protocol import Close, State

if TYPE_CHECKING:
    from server.ws.gateway import Gateway
    from server.ws.session import Session

log = structlog.get_logger(__name__)


class _Replaced(msgspec.Struct):
    session: str = ""


class Seats:
    """By session; "" where Redis is yet to be told."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._held: dict[Session, str] = {}
        self._ended: list[sockets.Seat] = []
        self._telling: set[asyncio.Task[None]] = set()

    def take(self, session: Session) -> None:
        """``session`` has joined."""
        self._held[session] = ""
        self._tell(self._take(session))

    def give_up(self, session: Session) -> None:
        """``session`` has ended; one that never joined had none."""
        seat = self._held.pop(session, "")
        if seat:
            self._ended.append((session.caller.id, seat))
            if len(self._ended) == 1:  # when all go at once, Redis is told once
                asyncio.get_running_loop().call_soon(self._clear)

    def _clear(self) -> None:
        ended, self._ended = self._ended, []
        self._tell(sockets.closed(self._gateway.engine, ended))

    async def touch(self) -> None:
        """Hold all of them for another lease. Raises CalloutError."""
        held = [(session.caller.id, seat) for session, seat in self._held.items() if seat]
        await sockets.touch(self._gateway.engine, held)
        for session in [session for session, seat in self._held.items() if not seat]:
            await self._take(session)

    async def _take(self, session: Session) -> None:
        engine, user = self._gateway.engine, session.caller.id
        seat = await sockets.opened(engine, user, session.id, engine.settings.user_sockets)
        if session.state is State.CLOSED:
            await sockets.closed(engine, [(user, seat)])
        else:
            self._held[session] = seat

    def replaced(self, event: Event) -> None:
        """A socket over the limit goes, if it is one of ours."""
        told = msgspec.json.decode(event.data, type=_Replaced).session
        for channel in event.to:
            for session in self._gateway.sockets_of(channel.removeprefix("user:")):
                if session.id == told:
                    session.close(Close.REPLACED, "replaced")

    def _tell(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_ride_out(work))
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)


async def _ride_out(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except CalloutError as error:
        log.info("seat_untold", error=str(error))
    except Exception:  # the task's boundary
        log.exception("seat_untold")
