"""The life of tokens on live sockets: a warning, the end, and a grace in which a refresh is still in time.

In the grace a session goes on as before: whoever is in the middle of a refresh should notice nothing. Access that
is *taken* away (suspension, another role, signing out) has no grace: the log tells every gateway.
"""

from __future__ import annotations

from math import ceil
from time import time

from engine.process.settings import Settings
from server.gateway.protocol import Close
from server.gateway.session import Session

EXPIRING = "token.expiring"


class Expiry:
    """Sessions by the second (of the Unix clock) in which they are warned, and in which they end."""

    def __init__(self, settings: Settings) -> None:
        self._warning_s = settings.token_warning_s
        self._grace_s = settings.token_grace_s
        self._warn: dict[int, set[Session]] = {}
        self._end: dict[int, set[Session]] = {}

    def watch(self, session: Session, *, late: bool = True) -> None:
        """From now on, for as long as its present token lasts; ``late``: warn even if the time for that is past."""
        expires = session.caller.expires
        if expires:
            warn_at = ceil(expires - self._warning_s)
            if late or warn_at > time():
                self._warn.setdefault(warn_at, set()).add(session)
            self._end.setdefault(ceil(expires + self._grace_s), set()).add(session)

    def forget(self, session: Session) -> None:
        """It ended, or is about to have another token."""
        if session.principal is not None and session.principal.expires:
            expires = session.principal.expires
            _discard(self._warn, ceil(expires - self._warning_s), session)
            _discard(self._end, ceil(expires + self._grace_s), session)

    def tick(self, now: float) -> None:
        """Warn and close those whose time has come by ``now``."""
        for second in [second for second in self._warn if second <= now]:
            for session in self._warn.pop(second):
                _warn(session, now)
        for second in [second for second in self._end if second <= now]:
            for session in list(self._end.pop(second)):
                session.close(Close.TOKEN_EXPIRED, "token expired")


def _warn(session: Session, now: float) -> None:
    """Of sessions with the same second few have the same encoding and the same remainder: not worth sharing."""
    left = max(0, int(session.caller.expires - now))
    frames = session.hub.frames
    session.push(frames.frame(frames.payloads.live(EXPIRING, int(now * 1000), {"in_s": left})))


def _discard(seconds: dict[int, set[Session]], second: int, session: Session) -> None:
    group = seconds.get(second)
    if group is not None:
        group.discard(session)
        if not group:
            del seconds[second]
