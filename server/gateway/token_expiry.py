"""The expiry of tokens on live sockets: a warning before it, and a grace period after it, in which a refresh is in
time.

In the grace period a session works as before, so that a user whose app is refreshing notices nothing. Access that is
*revoked* (suspension, another role, signing out) has no grace period: an event in the log reaches every gateway.
"""

from __future__ import annotations

from math import ceil
from time import time

from engine.process.settings import Settings
from server.gateway.protocol import Close
from server.gateway.session import Session

EXPIRING = "token.expiring"


class Expiry:
    """The sessions whose tokens expire, grouped by the second (Unix time) of their warning and of their end."""

    def __init__(self, settings: Settings) -> None:
        self._warning_s = settings.token_warning_s
        self._grace_s = settings.token_grace_s
        self._warn: dict[int, set[Session]] = {}
        self._end: dict[int, set[Session]] = {}

    def watch(self, session: Session, *, late: bool = True) -> None:
        """Schedule the warning and the end of ``session`` by its present token. ``late``: warn at the next tick even if
        the time of the warning is past.
        """
        expires = session.caller.expires
        if expires:
            warn_at = ceil(expires - self._warning_s)
            if late or warn_at > time():
                self._warn.setdefault(warn_at, set()).add(session)
            self._end.setdefault(ceil(expires + self._grace_s), set()).add(session)

    def forget(self, session: Session) -> None:
        """Cancel the warning and the end of ``session``. Call this when it has ended, and before it gets another
        token.
        """
        if session.principal is not None and session.principal.expires:
            expires = session.principal.expires
            _discard(self._warn, ceil(expires - self._warning_s), session)
            _discard(self._end, ceil(expires + self._grace_s), session)

    def tick(self, now: float) -> None:
        """Warn and close the sessions that are due at ``now`` (Unix time in seconds)."""
        for second in [second for second in self._warn if second <= now]:
            for session in self._warn.pop(second):
                _warn(session, now)
        for second in [second for second in self._end if second <= now]:
            for session in list(self._end.pop(second)):
                session.close(Close.TOKEN_EXPIRED, "token expired")


def _warn(session: Session, now: float) -> None:
    """Send ``token.expiring``. The frame is built for each session: few sessions that are due in the same second have
    the same encoding and the same remaining time, so sharing frames saves little.
    """
    left = max(0, int(session.caller.expires - now))
    frames = session.hub.frames
    session.push(frames.frame(frames.payloads.encode_live(EXPIRING, int(now * 1000), {"in_s": left})))


def _discard(seconds: dict[int, set[Session]], second: int, session: Session) -> None:
    group = seconds.get(second)
    if group is not None:
        group.discard(session)
        if not group:
            del seconds[second]
