"""Close the sessions of this gateway whose access was revoked, with the right close code.

The engine appends ``session.revoked`` to ``main``'s log (engine/identity/outbox.py), so every gateway receives the
revocation within milliseconds. While ``main`` is closed nothing can be appended. Then each gateway looks up the
accounts of its sessions every ``LOOKUP_EVERY_S``. Neither way carries what operations staff wrote about a suspension:
the user is sent a fixed phrase.
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

REVOKED_EVENT = "session.revoked"
LOOKUP_EVERY_S = 10.0
CONCURRENT_LOOKUPS = 32
"""How many accounts are looked up at the same time. Their calls to Redis are one write."""
CLOSE_REASONS: dict[int, str] = {Close.REVOKED: "access revoked", Close.REAUTHENTICATE: "role changed"}

log = structlog.get_logger(__name__)


class _RevokedData(msgspec.Struct):
    """The data of ``session.revoked``. ``family`` is the login that has ended, "" if all logins of the user have."""

    code: int = int(Close.REVOKED)
    family: str = ""


class Revocation:
    """The revocation of access for the sessions of one gateway."""

    def __init__(
        self, engine: Engine, sessions: Collection[Session], sessions_of: Callable[[str], list[Session]]
    ) -> None:
        self._engine = engine
        self._sessions = sessions
        self._sessions_of = sessions_of

    def apply_event(self, event: Event) -> None:
        """Close the sessions of this gateway whose access ``event`` revokes."""
        for channel in event.to:
            for session in self._sessions_of(channel.removeprefix("user:")):
                if self.revokes(event, session.caller):
                    self.close_session(session, event)

    def revokes(self, event: Event, principal: Principal) -> bool:
        """Return whether ``event`` revokes the login of ``principal``, or all logins of the user."""
        family = msgspec.json.decode(event.data, type=_RevokedData).family
        return not family or family == principal.family

    def close_session(self, session: Session, event: Event) -> None:
        """Close ``session`` with the code of ``event``: access revoked, role changed (authenticate again), or signed
        out.
        """
        data = msgspec.json.decode(event.data, type=_RevokedData)
        session.close(data.code, "signed out" if data.family else _close_reason(data.code))

    # while nothing can be appended

    async def run(self) -> None:
        """Run forever: while ``main`` is closed, look up the accounts every ``LOOKUP_EVERY_S``."""
        while not_cancelled():
            await asyncio.sleep(LOOKUP_EVERY_S)
            state = self._engine.store.zones.get(DEFAULT_ZONE)
            try:
                if state is None or not state.open:
                    await self.check_accounts()
            except Exception:  # the task's boundary
                log.exception("accounts_not_asked")

    async def check_accounts(self) -> None:
        """Read the account of every connected session, and close the sessions whose account has lost its access."""
        by_user: dict[str, list[Session]] = {}
        for session in self._sessions:
            if session.principal is not None:
                by_user.setdefault(session.principal.id, []).append(session)
        groups = list(by_user.values())
        for start in range(0, len(groups), CONCURRENT_LOOKUPS):
            await asyncio.gather(*(self._check_account(group) for group in groups[start : start + CONCURRENT_LOOKUPS]))

    async def _check_account(self, sessions: Sequence[Session]) -> None:
        for session in sessions:
            try:
                await tokens.check_active(self._engine, session.caller)
            except TokenExpired:
                session.close(Close.REAUTHENTICATE, _close_reason(Close.REAUTHENTICATE))
            except CalloutError as refusal:
                if not refusal.temporary:
                    session.close(Close.REVOKED, _close_reason(Close.REVOKED))


def _close_reason(code: int) -> str:
    return CLOSE_REASONS.get(code, "revoked")
