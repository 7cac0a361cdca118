"""Where the technicians of the user's jobs are: the last position of each job, with its age."""

from __future__ import annotations

import time
from collections.abc import Callable

from callout_client.callout import Callout
from callout_client.listeners import Frame, Status

STALE_S = 30.0
"""The age (s) at which a position counts as stale while there is no connection: the server cannot report it then."""


class Positions:
    """The last position of each job, over the connection of ``callout``. ``changed`` is called with each position that
    arrives, and with the job's last one when the server says that it is stale.
    """

    def __init__(self, callout: Callout, changed: Callable[[Frame], None] = lambda position: None) -> None:
        self._callout, self._changed = callout, changed
        self._by_job: dict[str, tuple[float, Frame]] = {}
        callout.followers.add(self)

    def close(self) -> None:
        """Stop recording positions."""
        self._callout.followers.remove(self)

    def latest(self, job: str) -> Frame | None:
        """Return the last position of a job, or None. ``age_s`` is its age now, in seconds. ``stale``: the technician
        may have moved since.
        """
        if job not in self._by_job:
            return None
        received_at, position = self._by_job[job]
        age_s = position["age_s"] + time.monotonic() - received_at
        is_connected = self._callout.status.transport == "socket"
        stale = position["stale"] or (age_s > STALE_S and not is_connected)
        return {**position, "age_s": age_s, "stale": stale}

    async def load(self, job: str) -> Frame | None:
        """Read the present position of a job, as a map does when it is opened. None if it is unknown or not shared.

        Raises Refusal, Unreachable.
        """
        answer = await self._callout.http("GET", f"/v1/jobs/{job}/track")
        if answer["position"] is None:
            self._by_job.pop(job, None)
        else:
            self._record(answer["position"])
        return self.latest(job)

    def handle_event(self, push: Frame) -> None:
        """Apply one push of the client."""
        if push["type"] == "position":
            self._record(push["data"])

    def handle_status(self, status: Status) -> None:
        """Do nothing after a new connection: the server sends the next position by itself."""

    def _record(self, position: Frame) -> None:
        """Record a position, unless a newer one is known."""
        known = self._by_job.get(position["job"])
        if known is None or position["at"] >= known[1]["at"]:
            self._by_job[position["job"]] = (time.monotonic(), position)
            self._changed(position)
