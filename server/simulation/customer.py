"""A simulated customer: books jobs over HTTP and follows them over a WebSocket."""

from __future__ import annotations

import asyncio
import time
from datetime import date
from random import Random
from typing import Any

from callout_client import Refusal
from callout_client.listeners import Frame
from server.simulation.account import Account
from server.simulation.person import Person, Simulation, job_in_event
from server.simulation.proofs import SignedReceipt

ENDED_PHASES = frozenset({"done", "closed"})
SIGN_S = 1.0
"""How long a customer looks at finished work before they sign."""
MARKET_AMOUNTS = (4000, 16_000)
"""What a customer offers on the marketplace, in minor units."""
MARKET_STEP = 500


class Customer(Person):
    """A simulated customer, who books when ``book`` is called. The delivery checker gets the events of the jobs."""

    def __init__(self, simulation: Simulation, account: Account) -> None:
        super().__init__(simulation, account)
        self._draw = simulation.random_for(f"bookings of {account.name}")

    async def book(
        self,
        lat: float,
        lon: float,
        address: str,
        *,
        blueprint: str = "home_service",
        technician: str = "",
        at: str = "",
    ) -> str:
        """Book a job and return its id. Only ``technician`` is asked; "" = all suitable technicians. The price of
        `managed` work, for which the engine chooses the technician, is quoted before the booking. ``at`` is the time
        (RFC 3339) of the work; "" = now.

        Raises Refusal or Unreachable.
        """
        service = self.simulation.service_for(blueprint, self._draw)
        booking: dict[str, Any] = {"service": service, "lat": lat, "lon": lon, "blueprint": blueprint}
        booking |= {"scheduled_for": at} if at else {}
        booking |= {"technician": technician} if technician else {}
        quoted: int | None = None
        if blueprint == "managed":
            quote = (await self.account.request("POST", "/v1/quotes", booking))["quote"]
            booking["quote"], quoted = quote["id"], quote["amount"]
        elif blueprint == "marketplace":
            booking["amount"] = self._draw.randrange(*MARKET_AMOUNTS, MARKET_STEP)
        job = (await self.account.request("POST", "/v1/jobs", {**booking, "address": address}))["job"]
        self.simulation.checker.record_booking(job, time.monotonic())
        if quoted is not None and job["amount"] != quoted:
            self.simulation.checker.broken_prices += 1
        return str(job["id"])

    async def find_slot(self, lat: float, lon: float, day: date, draw: Random) -> str:
        """Return the beginning of a free slot for managed work on a day; "" if there is none. Raises Refusal or
        Unreachable.
        """
        where = f"service={self.simulation.service_for('managed', draw)}&blueprint=managed&lat={lat}&lon={lon}"
        slots = await self.account.request("GET", f"/v1/slots?{where}&from={day}T08:00:00Z&to={day}T18:00:00Z")
        return str(draw.choice(slots["items"])["from"]) if slots["items"] else ""

    async def cancel(self, job: str) -> None:
        """Cancel the job. Do nothing if it can no longer be cancelled."""
        try:
            await self.client.request("command", job=job, command="cancel", reason="no longer needed")
        except Refusal as refusal:
            if refusal.code not in ("illegal_transition", "cancelled", "expired", "frozen"):
                raise

    async def refresh_job(self, job: str) -> None:
        """Read the job over HTTP, because its event is overdue, or was lost in a gap that the server reported."""
        self._record_job((await self.account.request("GET", f"/v1/jobs/{job}"))["job"])

    def handle(self, event: Frame) -> None:
        """Record the holder and the end of a job, and sign or confirm work that is done."""
        if event["type"].startswith(("job.", "payment.")):
            self._record_job(job_in_event(event))
        job = job_in_event(event)
        if event["type"] == "job.status" and job.get("status") == "work_done":
            self.start(self.review_work(job["id"]))
        elif event["type"] == "job.completed":
            self.start(self._confirm(job["id"]))

    async def review_work(self, job: str) -> None:
        """Sign the record of finished work. Raises Refusal or Unreachable."""
        await asyncio.sleep(SIGN_S)
        shown = await self.account.request("GET", f"/v1/jobs/{job}/record")
        body = {"sha256": shown["sha256"], "name": self.account.name, "strokes": self._draw_strokes()}
        try:
            signed = await self.account.request("POST", f"/v1/jobs/{job}/sign", body)
        except Refusal as refusal:
            if refusal.code not in ("illegal_transition", "frozen"):
                raise
        else:
            self.simulation.proofs.signed += 1
            self.simulation.proofs.receipts.append(SignedReceipt(signed["receipt"]["id"], shown["sha256"]))

    async def _confirm(self, job: str) -> None:
        await asyncio.sleep(SIGN_S)
        await self.client.request("command", job=job, command="confirm")

    def _draw_strokes(self) -> list[list[list[int]]]:
        """Return the strokes of a signature: a line with a bend."""
        rng = self.simulation.random_for(self.account.name)
        return [[[20 * step, 40 + rng.randrange(30), 60 * step] for step in range(8)]]

    def _record_job(self, job: Frame) -> None:
        if job.get("technician") and not job.get("asked"):
            self.simulation.checker.record_holder(job["id"], time.monotonic())
        if job.get("phase") in ENDED_PHASES:
            status = "completed" if job["phase"] == "done" else job["status"]
            self.simulation.checker.record_end(job["id"], status)
