"""A simulated admin who receives all changes of jobs, for the list of recent events on the dashboard."""

from __future__ import annotations

from collections import deque
from typing import Any

from engine.events import ms_of
from server.simulation.account import Account
from server.simulation.overlap_checker import Change, OverlapChecker
from server.simulation.person import Person, Simulation
from server.simulation.town import RING_M_S

BUFFER_MS = 900_000
"""The buffer between two jobs in all shipped blueprints."""
SHARED_BLUEPRINTS = frozenset({"delivery"})
"""The shipped blueprints whose jobs may overlap others: a driver delivers several orders on one tour."""
FREED_STATES = frozenset({"work_done", "disputed", "signed", "completed_by_technician", "awaiting_confirmation"})
"""The states of the shipped blueprints in which the work is over, before its signature and payment."""


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


class ReceivedSteps:
    """Passes the events that an admin receives to the checker of schedules, step by step. The events of one step have
    the same time. Each journey takes at least the time of a straight drive on the fastest road of the town; the
    server's travel times may be longer.
    """

    def __init__(self) -> None:
        self.checker = OverlapChecker(lambda at, metres: metres / RING_M_S, BUFFER_MS, SHARED_BLUEPRINTS, FREED_STATES)
        self._step: list[Change] = []

    def add_event(self, event: dict[str, Any]) -> None:
        """Take the next event. If its time differs, the step before it is complete."""
        change = Change(ms_of(event["at"]), event.get("seq", 0), event.get("data", {}))
        if self._step and self._step[0].at != change.at:
            self.end_step()
        self._step.append(change)

    def end_step(self) -> None:
        """Check the events that were received last."""
        self.checker.follow(self._step)
        self._step.clear()

    def forget(self) -> None:
        """Forget everything, because the server reported a gap."""
        self._step.clear()
        self.checker.forget()


class AdminObserver(Person):
    """A simulated admin, who receives the same events as operators: for the list of recent events on the dashboard, and
    for the checker of schedules.
    """

    def __init__(self, simulation: Simulation, account: Account, recent_events: RecentEvents) -> None:
        super().__init__(simulation, account)
        self._recent_events = recent_events
        self.steps = ReceivedSteps()

    def handle(self, event: dict[str, Any]) -> None:
        """Add the event to the recent events that the dashboard shows, and check it."""
        self._recent_events.add_event(event)
        if event["type"].startswith("job."):
            self.steps.add_event(event)

    def resynchronise(self) -> None:
        """Forget who holds which job, because events may be missing."""
        self.steps.forget()
