"""The course of one job, as its customer and the technicians who claim it see it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field


@dataclass(slots=True)
class JobOutcome:
    """The course of one job: times in monotonic seconds, and the technicians whose claim was acknowledged.

    ``final_status`` is "" while the job is open. ``is_ahead``: the job is for a later time.
    """

    booked_at_s: float | None = None
    accepted_at_s: float | None = None
    final_status: str = ""
    expires_at_s: float = math.inf
    winners: set[str] = field(default_factory=set)
    is_ahead: bool = False

    @property
    def is_undecided(self) -> bool:
        """Return whether the customer has booked the job, and has received neither its holder nor its end."""
        return self.booked_at_s is not None and self.accepted_at_s is None and not self.final_status

    @property
    def counter_names(self) -> list[str]:
        """Return the names of the counters that this job increases by one. A job of an earlier run increases none."""
        if self.booked_at_s is None:
            return []
        claimed = ["claimed"] if self.accepted_at_s is not None else []
        doubled = ["doubled"] if len(self.winners) > 1 else []
        ahead = ["ahead"] if self.is_ahead else []
        return ["booked", *ahead, *claimed, *doubled, *([self.final_status] if self.final_status else [])]

    @property
    def claim_ms(self) -> list[float]:
        """Return the time from booking to claim in ms, as a list of one; an empty list if the time is unknown, or if
        the job is booked for a later time.
        """
        if self.booked_at_s is None or self.accepted_at_s is None or self.is_ahead:
            return []
        return [max(0.0, self.accepted_at_s - self.booked_at_s) * 1000]
