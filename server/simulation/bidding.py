"""Bids: simulated technicians create them, and simulated customers choose one."""

from __future__ import annotations

import asyncio
from random import Random

from callout_client import Refusal
from callout_client.listeners import Frame
from server.simulation.person import Person

BID_PROBABILITY = 0.6
PRICE_RANGE = (0.85, 1.25)
"""The range of a bid, as a factor of the customer's amount."""
PRICE_STEP = 100
CHOOSE_S = (5.0, 12.0)
"""How long a customer waits for further bids after the first one."""
NO_BIDS_S = 150.0
"""After this time without a technician a customer cancels."""
PERSON_CODES = frozenset({"at_capacity", "invalid", "schedule_conflict"})
"""The refusals of a choice that concern its technician alone: the customer chooses another one."""
NOTES = (
    "I can be there within the hour.",
    "I have done this many times.",
    "All tools are in my van.",
    "The price includes the drive.",
    "I live around the corner.",
)


class Bidder:
    """The bids of one technician."""

    def __init__(self, person: Person, rng: Random) -> None:
        self._person, self._rng = person, rng

    async def bid(self, job: Frame) -> None:
        """Sometimes bid on an offered job."""
        if self._rng.random() >= BID_PROBABILITY:
            return
        amount = round(job["amount"] * self._rng.uniform(*PRICE_RANGE) / PRICE_STEP) * PRICE_STEP
        body = {"amount": max(PRICE_STEP, amount), "note": self._rng.choice(NOTES)}
        try:
            await self._person.account.request("POST", f"/v1/jobs/{job['id']}/bids", body)
        except Refusal as refusal:  # the customer may have chosen somebody meanwhile
            self._person.simulation.checker.bid_refusals[refusal.code] += 1


class Chooser:
    """The bids that one customer received, and their choice: the cheapest of the first seconds."""

    def __init__(self, person: Person, rng: Random) -> None:
        self._person, self._rng = person, rng
        self._bids: dict[str, dict[str, Frame]] = {}
        """The open bids by job, while the customer waits for more."""
        self._chosen: set[str] = set()
        """The jobs whose technician is chosen. Further bids change nothing."""

    def handle(self, event: Frame) -> None:
        """Record a bid, and its end. At the first bid of a job, begin to choose."""
        if event["type"] not in ("bid.created", "bid.closed"):
            return
        bid = event["data"]["bid"]
        job = bid["job"]
        if event["type"] == "bid.closed":
            self._bids.get(job, {}).pop(bid["id"], None)
            if event["data"].get("reason") == "unassigned":
                self._chosen.discard(job)
        elif job not in self._chosen:
            if job not in self._bids:
                self._bids[job] = {}
                self._person.start(self._choose(job))
            self._bids[job][bid["id"]] = bid

    async def _choose(self, job: str) -> None:
        """Accept the cheapest bid. If its technician cannot come now, accept the next one."""
        await asyncio.sleep(self._rng.uniform(*CHOOSE_S) / self._person.simulation.pace.speed)
        bids = self._bids[job]
        while bids:
            bid = bids.pop(min(bids, key=lambda each: bids[each]["amount"] or 0))
            path = f"/v1/jobs/{job}/bids/{bid['id']}/accept"
            try:
                reply = await self._person.account.request("POST", path, {})
            except Refusal as refusal:
                self._person.simulation.checker.bid_refusals[refusal.code] += 1
                if refusal.code in PERSON_CODES:
                    continue
                break
            self._chosen.add(job)
            self._person.simulation.checker.record_winner(job, bid["technician"]["id"])
            self._person.simulation.record_claim(reply["job"], bid["technician"]["id"])
            break
        del self._bids[job]
