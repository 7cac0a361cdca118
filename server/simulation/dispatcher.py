"""A simulated dispatcher, who confirms and prepares orders of `delivery` until they are ready for a driver."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from callout_client import Refusal
from callout_client.listeners import Frame
from server.simulation.account import Account
from server.simulation.person import Person, Simulation, job_in_event

STEPS = ("confirm", "prepare", "ready")
THINK_S = (4.0, 9.0)
"""The time (s) before each step, so that a visitor at the console can take the step first."""


class Dispatcher(Person):
    """A simulated operations manager of a kitchen: each order is confirmed, prepared and ready."""

    def __init__(self, simulation: Simulation, account: Account) -> None:
        super().__init__(simulation, account)
        self._rng = simulation.random_for(account.name)
        self._known: set[str] = set()

    def handle(self, event: Frame) -> None:
        """Start the work on a new order."""
        job = job_in_event(event)
        if event["type"] == "job.created" and job.get("blueprint") == "delivery":
            self._begin(job["id"])

    def resynchronise(self) -> None:
        """Continue with the orders that wait."""
        self.start(self._find_orders())

    async def _find_orders(self) -> None:
        for job in (await self.account.request("GET", "/v1/jobs?phase=open&limit=200"))["items"]:
            if job["blueprint"] == "delivery":
                self._begin(job["id"])

    def _begin(self, job: str) -> None:
        if job not in self._known:
            self._known.add(job)
            self.start(self._prepare(job))

    async def _prepare(self, job: str) -> None:
        for step in STEPS:
            await asyncio.sleep(self._rng.uniform(*THINK_S) / self.simulation.pace.speed)
            with suppress(Refusal):  # somebody else has done the step, or the order was cancelled
                await self.account.request("POST", f"/v1/jobs/{job}/{step}", {})
        self._known.discard(job)
