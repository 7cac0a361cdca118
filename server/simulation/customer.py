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
from server.simulation.conversations import Conversations
from server.simulation.person import Person, Simulation, job_in_event
from server.simulation.proofs import SignedReceipt

ANY_TECHNICIAN = {"blueprint": "home_service"}
ENDED_PHASES = frozenset({"done", "closed"})
DISPUTE_PROBABILITY = 0.4
"""How probable it is that a customer disputes a direct booking. Each customer disputes the first one, so that the
visitors of a demo see a mediator within some minutes."""
COMPLAIN_S = (0.5, 2.0)
SIGN_S = 1.0
"""How long a customer looks at finished work before they sign."""
ANSWER_S = 30.0
"""How long a customer waits for the answer of the technician whom they named."""


class Customer(Person):
    """A simulated customer, who books when ``book`` is called. The delivery checker gets the events of the jobs."""

    async def book(
        self, lat: float, lon: float, address: str, *, technician: str = "", is_managed: bool = False, at: str = ""
    ) -> str:
        """Book a job and return its id. Only ``technician`` is asked; "" = all suitable technicians. With
        ``is_managed`` the engine chooses the technician, and the price is quoted before. ``at`` is the time (RFC 3339)
        of the work; "" = now.

        Raises Refusal or Unreachable.
        """
        booking: dict[str, Any] = {"service": self.simulation.service, "lat": lat, "lon": lon}
        booking |= {"scheduled_for": at} if at else {}
        if is_managed:
            booking["blueprint"] = "managed"
            quote = (await self.account.request("POST", "/v1/quotes", booking))["quote"]
            booking["quote"] = quote["id"]
        else:
            booking |= {"blueprint": "direct_booking", "technician": technician} if technician else ANY_TECHNICIAN
        job = (await self.account.request("POST", "/v1/jobs", {**booking, "address": address}))["job"]
        self.simulation.checker.record_booking(job, time.monotonic())
        if is_managed and job["amount"] != quote["amount"]:
            self.simulation.checker.broken_prices += 1
        return str(job["id"])

    async def find_slot(self, lat: float, lon: float, day: date, draw: Random) -> str:
        """Return the beginning of a free slot for managed work on a day; "" if there is none. Raises Refusal or
        Unreachable.
        """
        where = f"service={self.simulation.service}&blueprint=managed&lat={lat}&lon={lon}"
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
        """Record the holder and the end of a job, and sign work that is done."""
        if event["type"].startswith(("job.", "payment.")):
            self._record_job(job_in_event(event))
        if event["type"] == "job.status" and job_in_event(event).get("status") == "work_done":
            self.start(self._sign(job_in_event(event)["id"]))

    async def _sign(self, job: str) -> None:
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

    def _draw_strokes(self) -> list[list[list[int]]]:
        """Return the strokes of a signature: a line with a bend."""
        rng = self.simulation.random_for(self.account.name)
        return [[[20 * step, 40 + rng.randrange(30), 60 * step] for step in range(8)]]

    def _record_job(self, job: Frame) -> None:
        if job.get("technician") and not job.get("asked"):
            self.simulation.checker.record_holder(job["id"], time.monotonic())
        if job.get("phase") in ENDED_PHASES:
            status = "completed" if job["status"] == "paid" else job["status"]
            self.simulation.checker.record_end(job["id"], status)


class TalkingCustomer(Customer):
    """A simulated customer who talks to the technician, and who disputes the work of the first direct booking and
    sometimes of a later one.
    """

    def __init__(self, simulation: Simulation, account: Account, speak_probability: float | None = None) -> None:
        super().__init__(simulation, account)
        self._has_disputed = False
        self._rng = simulation.random_for(account.name)
        self._conversations = Conversations(self, "customer", speak_probability)

    def handle(self, event: Frame) -> None:
        """Record the changes of a job, talk about them, and sometimes open a dispute."""
        super().handle(event)
        self._conversations.handle(event)
        job = job_in_event(event)
        begins = event["type"] == "job.status" and job.get("status") == "in_progress"
        if begins and job["blueprint"] == "direct_booking" and self._wants_dispute():
            self._has_disputed = True
            self.start(self._dispute(job["id"]))

    def _wants_dispute(self) -> bool:
        return not self._has_disputed or self._rng.random() < DISPUTE_PROBABILITY

    def resynchronise(self) -> None:
        """Forget what was received in the rooms, because messages may have been lost."""
        self._conversations.forget_all()

    async def cancel_if_unanswered(self, job: str) -> None:
        """Cancel a direct booking that its technician has not answered in time."""
        await asyncio.sleep(ANSWER_S)
        if self.simulation.checker.outcomes[job].is_undecided:
            await self.cancel(job)

    async def _dispute(self, job: str) -> None:
        await asyncio.sleep(self._rng.uniform(*COMPLAIN_S))
        await self.account.request("POST", f"/v1/jobs/{job}/disputes", {"reason": "This is not what I booked"})
