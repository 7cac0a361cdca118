"""A simulated admin who receives all changes of jobs, for the list of recent events on the dashboard."""

from __future__ import annotations

from collections import deque
from typing import Any

from server.simulation.account import Account
from server.simulation.person import Person, Simulation


class RecentEvents:
    """The last events, as one line each. ``max_events`` is the number of lines."""

    def __init__(self, max_events: int) -> None:
        self.lines: deque[str] = deque(maxlen=max_events)

    def add_event(self, event: dict[str, Any]) -> None:
        """Add a change of a job; ignore other events."""
        job = event.get("data", {}).get("job")
        if event["type"].startswith("job.") and isinstance(job, dict) and "status" in job:
            who = (job.get("technician") or job.get("customer") or {}).get("name", "")
            self.lines.append(f"{event['at'][11:19]}  …{job['id'][-6:]}  {job['status']:<12} {who}")


class AdminObserver(Person):
    """A simulated admin, who receives the same events as operators, for the list of recent events."""

    def __init__(self, simulation: Simulation, account: Account, recent_events: RecentEvents) -> None:
        super().__init__(simulation, account)
        self._recent_events = recent_events

    def handle(self, event: dict[str, Any]) -> None:
        """Add the event to the recent events that the dashboard shows."""
        self._recent_events.add_event(event)
