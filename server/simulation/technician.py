"""A simulated technician: waits for offers, claims them, does the jobs, and moves."""

from __future__ import annotations

import asyncio

from callout_client import Refusal, Unreachable
from callout_client.listeners import Frame
from server.simulation.account import Account
from server.simulation.person import Person, Simulation, job_in_event, random_position_near

NEXT_STEP = {"accepted": "depart", "on_the_way": "arrive", "reached": "start", "in_progress": "complete"}
MAX_IDLE_MOVE_M = 40.0


class Technician(Person):
    """A simulated technician, who claims offers while free: one at a time, the oldest first.

    The claim of a chosen offer is always sent, even if an `offer.closed` arrives during the reaction time. Real
    technicians do not stop either in this time, and otherwise simulated technicians would hardly ever compete.
    """

    def __init__(self, simulation: Simulation, account: Account, at: tuple[float, float]) -> None:
        super().__init__(simulation, account)
        self.at = at
        self.online = False
        self._rng = simulation.random_for(account.name)
        self._open_offers: dict[str, None] = {}
        self._held_jobs: dict[str, str] = {}
        self._must_reload = False
        self._stopping = False
        self._wake = asyncio.Event()

    async def connect(self) -> None:
        """Connect and go online at the current position."""
        await super().connect()
        await self.client.request("availability", online=True, lat=self.at[0], lon=self.at[1])
        self.online = True

    async def go_offline(self) -> None:
        """Go offline. Otherwise the account would receive offers until its presence lease expires."""
        await self.client.request("availability", online=False)

    async def run(self) -> None:
        """Claim offered jobs and complete them until cancelled, or until ``stop_claiming`` was called and no job is
        held.

        Raises Ended if the connection is closed.
        """
        fixes = asyncio.create_task(self._send_fixes())
        try:
            await self._claim_and_work()
        finally:
            fixes.cancel()

    def stop_claiming(self) -> None:
        """Claim no more jobs, but finish the held jobs."""
        self._stopping = True
        self._wake.set()

    def handle(self, event: Frame) -> None:
        """Update the lists of open offers and held jobs by ``event``, as an app does."""
        if event["type"] == "offer.created":
            self._open_offers[event["data"]["offer"]["job"]["id"]] = None
            self._wake.set()
        elif event["type"] == "offer.closed":
            self._open_offers.pop(job_in_event(event)["id"], None)
        elif event["type"] in ("job.cancelled", "job.unassigned"):
            self._held_jobs.pop(job_in_event(event)["id"], None)

    def resynchronise(self) -> None:
        """Make ``run`` read the open offers and the held jobs from the server before the next claim. Do nothing for a
        new account, which has neither."""
        self._must_reload = self.online or self.account.existed_before
        self._wake.set()

    async def _claim_and_work(self) -> None:
        while not (self._stopping and not self._held_jobs):
            if self._must_reload:
                await self._reload_offers_and_jobs()
            elif self._held_jobs:
                await self._run_next_step(*next(iter(self._held_jobs.items())))
            elif self._open_offers and not self._stopping:
                await self._claim_job(next(iter(self._open_offers)))
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _reload_offers_and_jobs(self) -> None:
        self._must_reload = False
        offers = await self.account.request("GET", "/v1/offers")
        self._open_offers = {offer["job"]["id"]: None for offer in offers["items"]}
        for phase in ("assigned", "active"):
            page = await self.account.request("GET", f"/v1/jobs?phase={phase}")
            self._held_jobs |= {job["id"]: job["status"] for job in page["items"]}

    async def _claim_job(self, job: str) -> None:
        self._open_offers.pop(job)
        await asyncio.sleep(self._rng.uniform(*self.simulation.pace.reaction_s))
        checker = self.simulation.checker
        checker.claim_attempts += 1
        try:
            job_view = (await self.client.request("claim", job=job))["job"]
        except Refusal as refusal:
            checker.refusals[refusal.code] += 1
        except Unreachable:
            checker.refusals["indeterminate"] += 1
            self._must_reload = True
        else:
            checker.record_winner(job, self.id)
            self._held_jobs[job] = job_view["status"]

    async def _run_next_step(self, job: str, status: str) -> None:
        step = NEXT_STEP.get(status)
        if step is None:
            self._held_jobs.pop(job, None)
            return
        await asyncio.sleep(self._rng.uniform(*self.simulation.pace.work_s) / len(NEXT_STEP))
        try:
            job_view = (await self.client.request("command", job=job, command=step))["job"]
        except Refusal:
            self._held_jobs.pop(job, None)  # it was cancelled or given to another technician meanwhile
        except Unreachable:
            self._must_reload = True
        else:
            await self._move_after_step(step, job_view["lat"], job_view["lon"])
            self._held_jobs[job] = job_view["status"]

    async def _move_after_step(self, step: str, lat: float, lon: float) -> None:
        if step == "depart":
            self.at = ((self.at[0] + lat) / 2, (self.at[1] + lon) / 2)
        elif step == "arrive":
            self.at = (lat, lon)
        else:
            return
        await self._send_fix()

    async def _send_fixes(self) -> None:
        await asyncio.sleep(self._rng.uniform(0, self.simulation.pace.fix_s))
        while True:
            if not self._held_jobs:
                self.at = random_position_near(self._rng, *self.at, MAX_IDLE_MOVE_M)
            await self._send_fix()
            await asyncio.sleep(self.simulation.pace.fix_s)

    async def _send_fix(self) -> None:
        await self.client.send("location", lat=self.at[0], lon=self.at[1])
