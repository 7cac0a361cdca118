"""The steps that a technician takes, by blueprint."""

from __future__ import annotations

from callout_client.listeners import Frame

NEXT_STEPS = {
    "home_service": {"accepted": "depart", "on_the_way": "arrive", "reached": "start", "in_progress": "complete"},
    "direct_booking": {"accepted": "start", "in_progress": "complete"},
    "managed": {"assigned": "accept", "accepted": "depart", "on_the_way": "start", "in_progress": "finish"},
    "marketplace": {"scheduled": "start", "in_progress": "complete"},
    "delivery": {"ready": "depart", "on_the_way": "deliver"},
}
"""The technician's next step by the job's blueprint and status."""


def next_step(job: Frame) -> str | None:
    """Return the next step of the job's holder; None if the holder has nothing to do."""
    return NEXT_STEPS.get(job["blueprint"], {}).get(job["status"])


def takes_bids(job: Frame) -> bool:
    """Return whether an offer of the job is an invitation to bid, and cannot be claimed."""
    return (job["blueprint"], job["status"]) == ("marketplace", "open")


def is_held_by(job: Frame, technician: str) -> bool:
    """Return whether the technician has the job, or is the one whom the engine or ops chose. A technician who was asked
    by name has an offer instead.
    """
    is_theirs = (job.get("technician") or {}).get("id") == technician
    return is_theirs and not (job.get("asked") and job["phase"] == "open")
