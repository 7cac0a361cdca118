"""Objects that follow one client: chat rooms, presence, positions. Each follower receives the client's pushes and its
changes of status before the application does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from callout_client.listeners import Frame, Listeners, Status


class Follower(Protocol):
    """An object that keeps a state from the pushes of a client. It is told each connection, to read what it missed."""

    def handle_event(self, push: Frame) -> None:
        """Apply one push, which comes once. Ignore the pushes of others."""

    def handle_status(self, status: Status) -> None:
        """Handle a change of the client's status: ``connected`` comes with each new connection."""


class Followers:
    """The followers of one client, in the order in which they were added."""

    def __init__(self) -> None:
        self._followers: list[Follower] = []

    def add(self, follower: Follower) -> None:
        """Add a follower. Do nothing if it was added before."""
        if follower not in self._followers:
            self._followers.append(follower)

    def remove(self, follower: Follower) -> None:
        """Remove a follower, if it was added."""
        if follower in self._followers:
            self._followers.remove(follower)

    def precede(self, listeners: Listeners) -> Listeners:
        """Return the listeners of an application, with calls of the followers before those of ``event`` and
        ``status``.
        """

        def handle_event(push: Frame) -> None:
            for follower in tuple(self._followers):
                follower.handle_event(push)
            listeners.event(push)

        def handle_status(status: Status) -> None:
            for follower in tuple(self._followers):
                follower.handle_status(status)
            listeners.status(status)

        return replace(listeners, event=handle_event, status=handle_status)
