"""End the jobs that an earlier demo on the same data directory left, because nobody works on them any more."""

from __future__ import annotations

from contextlib import suppress

from callout_client import Refusal
from server.simulation.account import Operator

LIVE_PHASES = ("open", "assigned", "active")
REASON = "The demo was started again"
MAX_JOBS = 500
"""The most jobs of a phase that are cancelled. Each takes some milliseconds, and the newcomer waits."""


async def cancel_old_jobs(operator: Operator) -> int:
    """Cancel all live jobs, and return their number. A job that cannot be cancelled, such as one that is signed, stays.
    Raises Refusal or Unreachable.
    """
    cancelled = 0
    for phase in LIVE_PHASES:
        jobs, path = list[str](), f"/v1/jobs?phase={phase}&limit=100"
        page = await operator.request("GET", path)
        while len(jobs) < MAX_JOBS:
            jobs += [job["id"] for job in page["items"]]
            if not page["next"]:
                break
            page = await operator.request("GET", f"{path}&cursor={page['next']}")
        for job in jobs:
            with suppress(Refusal):
                await operator.request("POST", f"/v1/jobs/{job}/cancel", {"reason": REASON})
                cancelled += 1
    return cancelled
