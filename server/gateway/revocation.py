"""Access that is taken away: which sessions of this gateway end, and with which close code.

The engine appends ``session.revoked`` to ``main``'s log (engine/identity/outbox.py), so every gateway hears it within
milliseconds. While ``main`` is closed nothing can be appended: then each gateway asks for the accounts of its sessions
every ``ASK_S``. What operations staff wrote about a suspension is in neither place: the person gets a fixed phrase.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

import msgspec
import structlog

from engine.errors import CalloutError, TokenExpired
from engine.events import Event
from engine.identity import tokens
from engine.process.loops import not_cancelled
from engine.runtime import Engine
from engine.types import DEFAULT_ZONE, Principal
from server.gateway.protocol import Close
from server.gateway.session import Session

REVOKED = "session.revoked"
ASK_S = 10.0
AT_ONCE = 32
"""Accounts asked for at the same time: what goes to Redis in one write."""
PHRASES: dict[int, str] = {Close.REVOKED: "access revoked", Close.REAUTHENTICATE: "role changed"}

log = structlog.get_logger(__name__)


class _Revoked(msgspec.Struct):
    """``family`` names one session (a login), where it alone has ended; else all of the user's."""

    code: int = int(Close.REVOKED)
    family: str = ""


class Revocation:
    """Ends the sessions of one gateway."""

    def __init__(
        self, engine: Engine, sessions: Collection[Session], sessions_of: Callable[[str], list[Session]]
    ) -> None:
        self._engine = engine
        self._sessions = sessions
        self._sessions_of = sessions_of

    def apply(self, event: Event) -> None:
        """Close what ``event`` takes away, at this gateway."""
        for channel in event.to:
            for session in self._sessions_of(channel.removeprefix("user:")):
                if self.concerns(event, session.caller):
                    self.end(session, event)

    def concerns(self, event: Event, principal: Principal) -> bool:
        """Whether what was revoked is this access of the user, or all that they have."""
        family = msgspec.json.decode(event.data, type=_Revoked).family
        return not family or family == principal.family

    def end(self, session: Session, event: Event) -> None:
        """Close as the event says: access revoked, role changed and to be proved anew, or signed out."""
        told = msgspec.json.decode(event.data, type=_Revoked)
        session.close(told.code, "signed out" if told.family else _phrase(told.code))

    # while nothing can be appended

    async def run(self) -> None:
        """Ask every ``ASK_S`` while ``main`` is closed, for ever."""
        while not_cancelled():
            await asyncio.sleep(ASK_S)
            state = self._engine.store.zones.get(DEFAULT_ZONE)
            try:
                if state is None or not state.open:
                    await self.ask()
            except Exception:  # the task's boundary
                log.exception("accounts_not_asked")

    async def ask(self) -> None:
        """Look up the account of every live session, and close those that may not go on."""
        by_user: dict[str, list[Session]] = {}
        for session in self._sessions:
            if session.principal is not None:
                by_user.setdefault(session.principal.id, []).append(session)
        groups = list(by_user.values())
        for start in range(0, len(groups), AT_ONCE):
            await asyncio.gather(*(self._ask(group) for group in groups[start : start + AT_ONCE]))

    async def _ask(self, sessions: Sequence[Session]) -> None:
        for session in sessions:
            try:
                await tokens.check_active(self._engine, session.caller)
            except TokenExpired:
                session.close(Close.REAUTHENTICATE, _phrase(Close.REAUTHENTICATE))
            except CalloutError as refusal:
                if not refusal.temporary:
                    session.close(Close.REVOKED, _phrase(Close.REVOKED))


def _phrase(code: int) -> str:
    return PHRASES.get(code, "revoked")
