"""A simulated technician: waits for offers, claims them, does the jobs, and moves."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from callout_client import Refusal, Unreachable
from callout_client.listeners import Frame
from server.simulation.account import Account
from server.simulation.bidding import Bidder
from server.simulation.job_steps import is_held_by, next_step, takes_bids
from server.simulation.online_technician import OnlineTechnician
from server.simulation.person import Simulation, job_in_event, random_position_near
from server.simulation.pictures import take_photos
from server.simulation.waiting_jobs import WaitingJobs, seconds_until

STEPS_PER_JOB = 4
FROZEN_RETRY_S = 60.0
"""How long to wait for the end of a dispute before the next step is tried again."""
MAX_IDLE_MOVE_M = 40.0
DEPART_BEFORE_S = 60.0
"""How long before the time of a booked job its technician departs."""
TOO_EARLY_RETRY_S = 30.0
"""When a step that was too early is tried again."""
NO_CODE_RETRY_S = 5.0


class Technician(OnlineTechnician):
    """A simulated technician, who claims offers while free: one at a time.

    The claim of a chosen offer is always sent, even if an `offer.closed` arrives during the reaction time. Real
    technicians do not stop either in this time, and otherwise simulated technicians would hardly ever compete.
    """

    def __init__(self, simulation: Simulation, account: Account, at: tuple[float, float]) -> None:
        super().__init__(simulation, account, at)
        self._open_offers: dict[str, Frame] = {}
        self._held_jobs: dict[str, Frame] = {}
        self._waiting = WaitingJobs()
        self._frozen_jobs: set[str] = set()
        self._must_reload = False
        self._stopping = False
        self._wake = asyncio.Event()
        self._bidder = Bidder(self, self._rng)

    async def run(self) -> None:
        """Claim offered jobs and complete them until cancelled, or until ``stop_claiming`` was called and no job is
        held.

        Raises Ended if the connection is closed.
        """
        fixes = asyncio.create_task(self.send_fixes())
        try:
            await self._claim_and_work()
        finally:
            fixes.cancel()

    def stop_claiming(self) -> None:
        """Claim no more jobs, but finish the held jobs. Booked jobs that must wait stay as they are."""
        self._stopping = True
        self._wake.set()

    @property
    def is_free(self) -> bool:
        """Return whether the technician holds no job, or only jobs that are booked for much later."""
        return self._waiting.wait_long(self._held_jobs)

    @property
    def waiting_jobs(self) -> set[str]:
        """Return the held jobs that wait for their time."""
        return self._held_jobs.keys() & self._waiting.names()

    def can_continue(self, job: str) -> bool:
        """Return whether the technician holds the job and no dispute has frozen it."""
        return job in self._held_jobs and job not in self._frozen_jobs

    def handle(self, event: Frame) -> None:
        """Update the open offers and held jobs by ``event``, as an app does."""
        if event["type"] == "offer.created":
            job = event["data"]["offer"]["job"]
            self._open_offers[job["id"]] = job
        elif event["type"] == "offer.closed":
            self._open_offers.pop(job_in_event(event)["id"], None)
        elif event["type"] == "job.assigned":
            self._note_holder(job_in_event(event), event["data"]["technician"]["id"])
        elif event["type"] in ("job.cancelled", "job.unassigned"):
            self._drop_job(job_in_event(event)["id"])
            self.simulation.checker.record_release(job_in_event(event)["id"], self.id)
        elif event["type"] == "job.disputed":
            self._frozen_jobs.add(job_in_event(event)["id"])
        elif event["type"] == "job.resolved":
            self._end_dispute(job_in_event(event))
        else:
            return
        self._wake.set()

    def _note_holder(self, job: Frame, holder: str) -> None:
        if holder == self.id:
            self._held_jobs[job["id"]] = job
        else:  # ops gave the job to somebody else
            self._drop_job(job["id"])
            self.simulation.checker.record_release(job["id"], self.id)

    def _drop_job(self, job: str) -> None:
        self._held_jobs.pop(job, None)
        self._waiting.remove(job)
        self._frozen_jobs.discard(job)

    def _end_dispute(self, job: Frame) -> None:
        self._frozen_jobs.discard(job["id"])
        if job["id"] in self._held_jobs:
            self._held_jobs[job["id"]] |= {"status": job["status"]}

    def resynchronise(self) -> None:
        """Make ``run`` read the open offers and the held jobs from the server before the next claim. Do nothing for a
        new account, which has neither."""
        self._must_reload = self.online or self.account.existed_before
        self._wake.set()

    async def _claim_and_work(self) -> None:
        while not (self._stopping and self._held_jobs.keys() <= self.waiting_jobs):
            if self._must_reload:
                await self._reload_offers_and_jobs()
            elif job := self._due_job():
                await self._run_next_step(job)
            elif self._open_offers and not self._stopping:
                await self._claim_job(self.choose_offer(self._open_offers.values()))
            else:
                await self.wait_for_change(self._waiting.rest_s())

    def _due_job(self) -> Frame | None:
        """Return the first held job that need not wait."""
        waiting = self._waiting.names()
        return next((job for name, job in self._held_jobs.items() if name not in waiting), None)

    async def wait_for_change(self, within_s: float | None) -> None:
        """Wait until an event changes the offers or the held jobs, but not longer than ``within_s`` seconds."""
        self._wake.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._wake.wait()

    async def _reload_offers_and_jobs(self) -> None:
        self._must_reload = False
        offers = await self.account.request("GET", "/v1/offers")
        self._open_offers = {offer["job"]["id"]: offer["job"] for offer in offers["items"]}
        for phase in ("open", "assigned", "active"):
            page = await self.account.request("GET", f"/v1/jobs?phase={phase}")
            self._held_jobs |= {job["id"]: job for job in page["items"] if is_held_by(job, self.id)}

    async def _claim_job(self, offered: Frame) -> None:
        job = offered["id"]
        self._open_offers.pop(job)
        courtesy_s = self.simulation.courtesy_s((offered["lat"], offered["lon"]))
        await asyncio.sleep(self.reaction_s(offered) + courtesy_s)
        if takes_bids(offered):
            return await self._bidder.bid(offered)
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
            self.simulation.record_claim(job_view, self.id)
            self._held_jobs[job] = job_view
        return None

    def choose_offer(self, offered_jobs: Iterable[Frame]) -> Frame:
        """Return the job to take next: the one that was offered first."""
        return next(iter(offered_jobs))

    def reaction_s(self, job: Frame) -> float:
        """Return how long the technician thinks of an offer of ``job``."""
        return self._rng.uniform(*self.simulation.pace.reaction_s)

    async def _run_next_step(self, job: Frame) -> None:
        step = next_step(job)
        if step is None:
            return self._drop_job(job["id"])
        if job["id"] in self._frozen_jobs:
            await self.wait_for_change(FROZEN_RETRY_S)
            return self._frozen_jobs.discard(job["id"])
        if step == "depart" and (wait_s := seconds_until(job["scheduled_for"]) - DEPART_BEFORE_S) > 0:
            return self._waiting.add(job["id"], wait_s)
        await self.prepare_step(job, step)
        proof = await self.find_proof(job, step)
        if proof is None:
            return self._waiting.add(job["id"], NO_CODE_RETRY_S)
        self.simulation.checker.claim_attempts += step == "accept"
        try:
            await take_photos(self, job["id"], step, self._rng)
            job_view = (await self.client.request("command", job=job["id"], command=step, **proof))["job"]
        except Refusal as refusal:
            self._handle_refusal(job["id"], refusal)
        except Unreachable:
            self._must_reload = True
        else:
            if step == "accept":
                self.simulation.checker.record_winner(job["id"], self.id)
                self.simulation.record_claim(job_view, self.id)
            self._held_jobs[job["id"]] = job_view
            await self.finish_step(job_view, step)
        return None

    def _handle_refusal(self, job: str, refusal: Refusal) -> None:
        if refusal.code == "frozen":
            self._frozen_jobs.add(job)
        elif refusal.code in ("too_early", "wrong_code"):
            self._waiting.add(job, TOO_EARLY_RETRY_S if refusal.code == "too_early" else NO_CODE_RETRY_S)
        else:
            self._drop_job(job)  # the job was cancelled or given to another technician meanwhile

    async def find_proof(self, job: Frame, step: str) -> dict[str, Any] | None:
        """Return the arguments that a step needs, such as a code; None if they are not known yet."""
        return {}

    async def prepare_step(self, job: Frame, step: str) -> None:
        """Work for some time."""
        await asyncio.sleep(self._rng.uniform(*self.simulation.pace.work_s) / STEPS_PER_JOB)

    async def finish_step(self, job: Frame, step: str) -> None:
        """Move to the place or closer to it."""
        if step == "depart":
            self.at = ((self.at[0] + job["lat"]) / 2, (self.at[1] + job["lon"]) / 2)
        elif step == "arrive":
            self.at = (job["lat"], job["lon"])
        else:
            return
        await self.send_fix()

    async def send_fixes(self) -> None:
        """Send a fix at each interval forever. Without a job, move a little before."""
        await asyncio.sleep(self._rng.uniform(0, self.simulation.pace.fix_s))
        while True:
            if self.is_free:
                self.at = random_position_near(self._rng, *self.at, MAX_IDLE_MOVE_M)
            await self.send_fix()
            await asyncio.sleep(self.simulation.pace.fix_s)
