"""Objects that follow one client: chat rooms, presence, positions. Each follower receives the client's pushes and its
changes of status before the application does.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from callout_client.listeners import Frame, Listeners, Status, Sync


class Follower(Protocol):
    """An object that builds a state from the pushes of a client. The client calls it after each connection and each
    snapshot, so that it can read what it missed.
    """

    def handle_event(self, push: Frame) -> None:
        """Apply one push. Each push comes once. Ignore pushes about other rooms, users or jobs."""

    def handle_status(self, status: Status) -> None:
        """Handle a change of the client's status: ``connected`` comes with each new connection, and again after each
        snapshot. After a snapshot the follower must read its state again, because events that are older than the
        snapshot are not delivered.
        """


class Followers:
    """The followers of one client, in the order in which they were added."""

    def __init__(self) -> None:
        self._followers: list[Follower] = []
        self._status = Status("offline")

    def add(self, follower: Follower) -> None:
        """Add a follower. Do nothing if it was added before."""
        if follower not in self._followers:
            self._followers.append(follower)

    def remove(self, follower: Follower) -> None:
        """Remove a follower, if it was added."""
        if follower in self._followers:
            self._followers.remove(follower)

    def precede(self, listeners: Listeners) -> Listeners:
        """Return listeners that call the followers first, and then ``event``, ``status`` or ``sync`` of the
        application's ``listeners``.
        """

        def handle_event(push: Frame) -> None:
            for follower in tuple(self._followers):
                follower.handle_event(push)
            listeners.event(push)

        def handle_status(status: Status) -> None:
            self._status = status
            self._tell_status()
            listeners.status(status)

        def handle_sync(sync: Sync) -> None:
            if self._status.status == "connected":
                self._tell_status()
            if listeners.sync is not None:
                listeners.sync(sync)

        own_sync = None if listeners.sync is None else handle_sync
        return replace(listeners, event=handle_event, status=handle_status, sync=own_sync)

    def _tell_status(self) -> None:
        for follower in tuple(self._followers):
            follower.handle_status(self._status)
