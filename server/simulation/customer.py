"""A simulated customer: books over HTTP, and follows what becomes of it over his WebSocket."""

from __future__ import annotations

import time

from callout_client import Refusal
from callout_client.listeners import Frame
from server.simulation.person import Person, job_of

OVER = frozenset({"done", "closed"})


class Customer(Person):
    """Books when he is told to; what he hears of his jobs goes into the tally."""

    async def book(self, lat: float, lon: float, address: str) -> str:
        """Book a job and return its id. Raises Refusal or Unreachable."""
        booking = {
            "blueprint": "home_service",
            "service": self.city.service,
            "lat": lat,
            "lon": lon,
            "address": address,
        }
        job = (await self.account.request("POST", "/v1/jobs", booking))["job"]
        self.city.tally.booked(job, time.monotonic())
        return str(job["id"])

    async def cancel(self, job: str) -> None:
        """Think better of it. It may be too late: then it stays as it is."""
        try:
            await self.client.request("command", job=job, command="cancel", reason="no longer needed")
        except Refusal as refusal:
            if refusal.code not in ("illegal_transition", "cancelled", "expired"):
                raise

    async def ask_after(self, job: str) -> None:
        """Read the job: for one whose news is overdue, or was lost in a gap that the server told of."""
        self._note((await self.account.request("GET", f"/v1/jobs/{job}"))["job"])

    def hear(self, event: Frame) -> None:
        """Take note of a holder found and of an end."""
        if event["type"].startswith("job."):
            self._note(job_of(event))

    def _note(self, job: Frame) -> None:
        if job.get("technician"):
            self.city.tally.accepted(job["id"], time.monotonic())
        if job.get("phase") in OVER:
            self.city.tally.ended(job["id"], job["status"])
