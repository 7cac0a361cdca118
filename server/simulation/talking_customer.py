"""A simulated customer who talks, chooses bids, says codes at the door, disputes and rates."""

from __future__ import annotations

import asyncio

from callout_client.listeners import Frame
from server.simulation.account import Account
from server.simulation.bidding import NO_BIDS_S, Chooser
from server.simulation.conversations import Conversations
from server.simulation.customer import Customer
from server.simulation.door_codes import CodeSayer
from server.simulation.person import Simulation, job_in_event

DISPUTE_PROBABILITY = 0.4
"""The probability that a customer disputes a direct booking. Each customer disputes the first one, so that the visitors
of a demo see a mediator within a few minutes."""
WORK_DISPUTE_PROBABILITY = 0.06
"""The probability that a customer disputes managed work and does not sign it, at most once for each job."""
COMPLAIN_S = (0.5, 2.0)
"""How long a customer waits before they open a dispute."""
COMPLAINTS = (
    "This is not what I booked",
    "The leak is still there",
    "It took twice as long as agreed",
    "A part is missing",
    "There are scratches on the floor",
)
ANSWER_S = 30.0
"""How long a customer waits for the answer of the technician whom they named."""
RATE_PROBABILITY, RATE_S = 0.7, (2.0, 8.0)
STARS, STAR_WEIGHTS = (5, 4, 3, 2, 1), (60, 25, 10, 3, 2)
PRAISE = {
    5: ("Excellent, thank you!", "Fast and friendly.", "On time and very tidy.", "Would book again."),
    4: ("Good work.", "A little late, but very good.", "Friendly."),
    3: ("It was all right.", "Took longer than I thought."),
    2: ("Came too late.", "I had to explain everything twice."),
    1: ("I was not happy with this.",),
}


class TalkingCustomer(Customer):
    """A simulated customer who talks to the technician, and who disputes the work of the first direct booking and
    sometimes of a later one.
    """

    def __init__(self, simulation: Simulation, account: Account, speak_probability: float | None = None) -> None:
        super().__init__(simulation, account)
        self._has_disputed = False
        self._disputed_jobs: set[str] = set()
        self._rng = simulation.random_for(account.name)
        self._conversations = Conversations(self, "customer", speak_probability)
        self._chooser = Chooser(self, self._rng)
        self._codes = CodeSayer(self, self._conversations, self._rng)

    def handle(self, event: Frame) -> None:
        """Record the changes of a job, talk about them, choose a bid, and sometimes open a dispute."""
        super().handle(event)
        self._conversations.handle(event)
        self._chooser.handle(event)
        self._codes.handle(event)
        job = job_in_event(event)
        begins = event["type"] == "job.status" and job.get("status") == "in_progress"
        if begins and job["blueprint"] == "direct_booking" and self._wants_dispute():
            self._has_disputed = True
            self.start(self._dispute(job["id"]))
        if job.get("phase") == "done" and job.get("technician") and self._rng.random() < RATE_PROBABILITY:
            self.start(self._rate(job["id"]))

    def hear(self, job: str, message: Frame) -> None:
        """Say the code that a technician asks for, and answer a visitor."""
        self._codes.hear(job, message["text"])
        self._conversations.answer_visitor(message)

    async def review_work(self, job: str) -> None:
        """Sign finished work, or sometimes dispute it once."""
        if job not in self._disputed_jobs and self._rng.random() < WORK_DISPUTE_PROBABILITY:
            self._disputed_jobs.add(job)
            return await self._dispute(job)
        return await super().review_work(job)

    def _wants_dispute(self) -> bool:
        return not self._has_disputed or self._rng.random() < DISPUTE_PROBABILITY

    def resynchronise(self) -> None:
        """Forget what was received in the rooms, because messages may have been lost."""
        self._conversations.forget_all()

    async def cancel_if_unanswered(self, job: str) -> None:
        """Cancel a direct booking that its technician has not answered in time."""
        await self._cancel_if_undecided(job, ANSWER_S)

    async def cancel_if_without_bids(self, job: str) -> None:
        """Cancel a job for which nobody was chosen in time."""
        await self._cancel_if_undecided(job, NO_BIDS_S)

    async def _cancel_if_undecided(self, job: str, after_s: float) -> None:
        await asyncio.sleep(after_s)
        if self.simulation.checker.outcomes[job].is_undecided:
            await self.cancel(job)

    async def _dispute(self, job: str) -> None:
        await asyncio.sleep(self._rng.uniform(*COMPLAIN_S))
        await self.account.request("POST", f"/v1/jobs/{job}/disputes", {"reason": self._rng.choice(COMPLAINTS)})

    async def _rate(self, job: str) -> None:
        await asyncio.sleep(self._rng.uniform(*RATE_S) / self.simulation.pace.speed)
        (stars,) = self._rng.choices(STARS, STAR_WEIGHTS)
        body = {"stars": stars, "comment": self._rng.choice(PRAISE[stars])}
        await self.account.request("POST", f"/v1/jobs/{job}/ratings", body)
        self.simulation.proofs.ratings += 1
