"""Who types in a chat room: notices that the server sends once and never repeats."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

SEND_INTERVAL_S = 1.0
"""The shortest time between two notices that a client sends (s): the server accepts one a second."""
SHOWN_S = 6.0
"""How long a notice is shown (s), if neither another notice nor a message of that user follows."""


class TypingNotices:
    """The typing notices of one room: the received ones of the other members, and the user's own, which the function
    ``send`` sends. ``changed`` is called if ``users`` has changed.
    """

    def __init__(self, send: Callable[[bool], None], changed: Callable[[], None]) -> None:
        self._send, self._changed = send, changed
        self._shown: dict[str, asyncio.TimerHandle] = {}
        self._next_send_at = 0.0
        self._wanted = False
        self._delayed: asyncio.TimerHandle | None = None

    @property
    def users(self) -> list[str]:
        """Return the ids of the others who type now."""
        return list(self._shown)

    def announce(self, on: bool) -> None:
        """Send that the user types, or stopped. At most one notice is sent in a second: a notice that comes too early
        is sent later, unless another one replaces it.
        """
        self._wanted = on
        if self._delayed is None:
            loop = asyncio.get_running_loop()
            self._delayed = loop.call_at(max(loop.time(), self._next_send_at), self._send_wanted)

    def _send_wanted(self) -> None:
        self._delayed = None
        self._next_send_at = asyncio.get_running_loop().time() + SEND_INTERVAL_S
        self._send(self._wanted)

    def handle_notice(self, user: str, on: bool) -> None:
        """Show for some seconds that another user types; or show it no longer."""
        before = user in self._shown
        if before:
            self._shown.pop(user).cancel()
        if on:
            self._shown[user] = asyncio.get_running_loop().call_later(SHOWN_S, self.handle_notice, user, False)
        if before != on:
            self._changed()

    def close(self) -> None:
        """Stop all timers."""
        for timer in (*self._shown.values(), self._delayed):
            if timer is not None:
                timer.cancel()
        self._shown.clear()
        self._delayed = None
