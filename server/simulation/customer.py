"""A simulated customer: books jobs over HTTP and follows them over a WebSocket."""

from __future__ import annotations

import time

from callout_client import Refusal
from callout_client.listeners import Frame
from server.simulation.person import Person, job_in_event

ENDED_PHASES = frozenset({"done", "closed"})


class Customer(Person):
    """A simulated customer, who books when ``book`` is called. The delivery checker gets the events of the jobs."""

    async def book(self, lat: float, lon: float, address: str) -> str:
        """Book a job and return its id. Raises Refusal or Unreachable."""
        booking = {
            "blueprint": "home_service",
            "service": self.simulation.service,
            "lat": lat,
            "lon": lon,
            "address": address,
        }
        job = (await self.account.request("POST", "/v1/jobs", booking))["job"]
        self.simulation.checker.record_booking(job, time.monotonic())
        return str(job["id"])

    async def cancel(self, job: str) -> None:
        """Cancel the job. Do nothing if it can no longer be cancelled."""
        try:
            await self.client.request("command", job=job, command="cancel", reason="no longer needed")
        except Refusal as refusal:
            if refusal.code not in ("illegal_transition", "cancelled", "expired"):
                raise

    async def refresh_job(self, job: str) -> None:
        """Read the job over HTTP, because its event is overdue, or was lost in a gap that the server reported."""
        self._record_job((await self.account.request("GET", f"/v1/jobs/{job}"))["job"])

    def handle(self, event: Frame) -> None:
        """Record the holder and the end of a job."""
        if event["type"].startswith("job."):
            self._record_job(job_in_event(event))

    def _record_job(self, job: Frame) -> None:
        if job.get("technician"):
            self.simulation.checker.record_holder(job["id"], time.monotonic())
        if job.get("phase") in ENDED_PHASES:
            self.simulation.checker.record_end(job["id"], job["status"])
