"""The expiry of the tokens of connected sessions: a warning before the expiry, and a grace period after it, in which
a new token still arrives in time.

In the grace period a session works as before, so that a user whose app is refreshing notices nothing. Access that is
*revoked* (suspension, another role, signing out) has no grace period: an event in the log reaches every gateway.
"""

from __future__ import annotations

from math import ceil
from time import time

from engine.process.settings import Settings
from server.gateway.protocol import Close
from server.gateway.session import Session

TOKEN_EXPIRING = "token.expiring"


class TokenExpiry:
    """A timetable for sessions: for each second (Unix time), the sessions to warn of the expiry of their token, and
    those to close.
    """

    def __init__(self, settings: Settings) -> None:
        self._warning_s = settings.token_warning_s
        self._grace_s = settings.token_grace_s
        self._warnings: dict[int, set[Session]] = {}
        self._ends: dict[int, set[Session]] = {}

    def schedule(self, session: Session, *, warn_late: bool = True) -> None:
        """Schedule the warning and the end of ``session`` by its present token. ``warn_late``: warn at the next tick
        even if the time of the warning is past.
        """
        expires = session.caller.expires
        if expires:
            warn_at = ceil(expires - self._warning_s)
            if warn_late or warn_at > time():
                self._warnings.setdefault(warn_at, set()).add(session)
            self._ends.setdefault(ceil(expires + self._grace_s), set()).add(session)

    def cancel(self, session: Session) -> None:
        """Cancel the warning and the end of ``session``. Call this when it has ended, and before it gets another
        token.
        """
        if session.principal is not None and session.principal.expires:
            expires = session.principal.expires
            _remove_session(self._warnings, ceil(expires - self._warning_s), session)
            _remove_session(self._ends, ceil(expires + self._grace_s), session)

    def tick(self, now: float) -> None:
        """Warn and close the sessions that are due at ``now`` (Unix time in seconds)."""
        for second in [second for second in self._warnings if second <= now]:
            for session in self._warnings.pop(second):
                _warn_of_expiry(session, now)
        for second in [second for second in self._ends if second <= now]:
            for session in list(self._ends.pop(second)):
                session.close(Close.TOKEN_EXPIRED, "token expired")


def _warn_of_expiry(session: Session, now: float) -> None:
    """Send ``token.expiring``. The frame is built for each session: few sessions that are due in the same second have
    the same encoding and the same remaining time, so sharing frames saves little.
    """
    left = max(0, int(session.caller.expires - now))
    frames = session.hub.frames
    session.push(frames.frame(frames.payloads.encode_live_push(TOKEN_EXPIRING, int(now * 1000), {"in_s": left})))


def _remove_session(sessions_by_second: dict[int, set[Session]], second: int, session: Session) -> None:
    group = sessions_by_second.get(second)
    if group is not None:
        group.discard(session)
        if not group:
            del sessions_by_second[second]
