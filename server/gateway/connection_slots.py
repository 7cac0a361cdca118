"""The connection slots of a gateway's sockets and streams, counted over all gateways (engine/identity/sockets.py).

A slot is taken in the background: a client that connects does not wait for it, and costs Redis one call. Only Redis
decides which session is closed (when two gateways decided, both closed one). If a change could not be sent to Redis,
the next ``renew_all_slots`` sends it.
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
from server.gateway.event_stream import EventStream
from server.gateway.protocol import Close, State
from server.gateway.session import Session

ACTIVITY_REPORT_WAIT_S = 0.5
"""How many seconds all gateways have to report when they last received something from a user's sockets, before some of
the sockets are closed.
"""
CLOSE_REASONS: dict[int, str] = {Close.TOO_MANY: "more sockets than one may have", Close.REPLACED: "replaced"}
MAX_CONCURRENT_SLOT_OPENS = 32
"""The most sessions that take their slots at the same time, if they could not be counted before. Their commands to
Redis leave in one write.
"""

log = structlog.get_logger(__name__)


class _ReplacedData(msgspec.Struct):
    session: str = ""
    code: int = int(Close.REPLACED)


class ConnectionSlots:
    """The connection slots of one gateway, by session. A slot is None until Redis has counted the session."""

    def __init__(self, engine: Engine, sessions_of: Callable[[str], list[Session]]) -> None:
        self._engine = engine
        self._sessions_of = sessions_of
        self._slots: dict[Session, sockets.ConnectionSlot | None] = {}
        self._devices: dict[Session, sockets.ClientDevice] = {}
        """The device and the replaced session of each session that Redis has not counted yet."""
        self._slots_to_release: list[sockets.ConnectionSlot] = []
        self._tasks: set[asyncio.Task[None]] = set()

    def open_slot(self, session: Session, device: sockets.ClientDevice = sockets.NO_DEVICE) -> None:
        """Take a slot for ``session``, which has joined. The slots of ended sessions are returned first, so that no
        open session is closed because of them.
        """
        self._release_slots()
        self._slots[session] = None
        self._devices[session] = device
        self._run_in_background(self._open_slot(session))

    def release_slot(self, session: Session) -> None:
        """Return the slot of ``session``, which has ended. A session that never joined has no slot."""
        slot = self._slots.pop(session, None)
        self._devices.pop(session, None)
        if slot is not None:
            self._slots_to_release.append(slot)
            if len(self._slots_to_release) == 1:  # when many sessions end in one turn of the loop, Redis is called once
                asyncio.get_running_loop().call_soon(self._release_slots)

    def _release_slots(self) -> None:
        ended, self._slots_to_release = self._slots_to_release, []
        if ended:
            self._run_in_background(sockets.release_slots(self._engine, ended))

    async def renew_all_slots(self) -> None:
        """Renew the lease of all slots, and take the slots that could not be taken yet. Raises CalloutError.

        Before each call, check again which sessions are open: a session that ended during the last call must not get
        back the slot that it returned.
        """
        for some in _batches(sockets.MAX_SLOTS_PER_CALL, [*self._slots]):
            await self._renew_slots(some)
        for some in _batches(MAX_CONCURRENT_SLOT_OPENS, [one for one, slot in self._slots.items() if slot is None]):
            await asyncio.gather(*(self._open_slot(one) for one in some if one in self._slots))

    async def _renew_slots(self, sessions: Sequence[Session]) -> None:
        now = monotonic()
        held = ((slot, one.silence_ms(now)) for one in sessions if (slot := self._slots.get(one)))
        await sockets.renew_slots(self._engine, list(held))

    async def _open_slot(self, session: Session) -> None:
        engine, user = self._engine, session.caller.id
        most, streams = engine.settings.user_sockets, isinstance(session, EventStream)
        device = self._devices.get(session, sockets.NO_DEVICE)
        slot, over = await sockets.open_slot(engine, user, session.id, most, device, event_streams=streams)
        if session.state is State.CLOSED:
            return await sockets.release_slots(engine, [slot])
        self._slots[session] = slot
        self._devices.pop(session, None)
        if over:
            self._run_in_background(self._close_excess_later(user, most, streams=streams))
        return None

    async def _close_excess_later(self, user: UserId, max_connections: int, *, streams: bool) -> None:
        """Give the gateways time to report their sessions, then close the sessions that are more than
        ``max_connections``.
        """
        await asyncio.sleep(ACTIVITY_REPORT_WAIT_S)
        await sockets.close_excess_connections(self._engine, user, max_connections, event_streams=streams)

    def report_activity(self, event: Event) -> None:
        """Report to Redis, without waiting for the next ``renew_all_slots``, when this gateway last received something
        from the sockets of the users in ``event.to``."""
        for channel in event.to:
            sessions = self._sessions_of(channel.removeprefix("user:"))
            if sessions:
                self._run_in_background(self._renew_slots(sessions))

    def close_replaced(self, event: Event) -> None:
        """Close the socket or stream that ``event`` names, if it is at this gateway."""
        data = msgspec.json.decode(event.data, type=_ReplacedData)
        for channel in event.to:
            for session in self._sessions_of(channel.removeprefix("user:")):
                if session.id == data.session:
                    session.close(data.code, CLOSE_REASONS.get(data.code, "replaced"))

    def _run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(_run_and_log(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _batches(count: int, sessions: Sequence[Session]) -> Iterator[Sequence[Session]]:
    for start in range(0, len(sessions), count):
        yield sessions[start : start + count]


async def _run_and_log(work: Coroutine[Any, Any, None]) -> None:
    try:
        await work
    except CalloutError as error:
        log.info("slot_update_failed", error=str(error))
    except Exception:  # the task's boundary
        log.exception("slot_update_failed")
