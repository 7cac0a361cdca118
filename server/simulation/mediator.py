"""A simulated mediator: takes disputes, talks to both sides, and resolves them."""

from __future__ import annotations

import asyncio

from callout_client import Refusal
from callout_client.listeners import Frame
from server.simulation.account import Account
from server.simulation.conversations import Conversations
from server.simulation.person import Person, Simulation

REACTION_S = (2.0, 5.0)
TALK_S = (8.0, 14.0)
OUTCOMES = {"resume": "Both agree to go on", "complete": "The work is done", "cancel": "The work is not needed"}


class Mediator(Person):
    """A simulated mediator, who resolves each dispute a few seconds after it was opened."""

    def __init__(self, simulation: Simulation, account: Account) -> None:
        super().__init__(simulation, account)
        self.resolved = 0
        self._rng = simulation.random_for(account.name)
        self._conversations = Conversations(self, "mediator")
        self._known: set[str] = set()

    def handle(self, event: Frame) -> None:
        """Begin to settle a dispute, and take part in the conversation in its room."""
        self._conversations.handle(event)
        if event["type"] == "job.disputed":
            self.start(self._settle_disputes())

    def resynchronise(self) -> None:
        """Settle the disputes that were opened in the gap, or in an earlier run."""
        self._conversations.forget_all()
        self.start(self._settle_disputes())

    async def _settle_disputes(self) -> None:
        await asyncio.sleep(self._rng.uniform(*REACTION_S))
        for dispute in (await self.account.request("GET", "/v1/disputes"))["items"]:
            if dispute["id"] not in self._known:
                self._known.add(dispute["id"])
                self.start(self._settle(dispute["id"]))

    async def _settle(self, dispute: str) -> None:
        try:
            await self.account.request("POST", f"/v1/disputes/{dispute}/take")
        except Refusal as refusal:
            if refusal.code != "not_found":  # an older server has no route to take a dispute
                raise
        await asyncio.sleep(self._rng.uniform(*TALK_S) / self.simulation.pace.speed)
        for outcome in self._rng.sample(list(OUTCOMES), len(OUTCOMES)):
            body = {"outcome": outcome, "note": OUTCOMES[outcome]}
            try:
                await self.account.request("POST", f"/v1/disputes/{dispute}/resolve", body)
            except Refusal as refusal:  # a blueprint need not declare all outcomes
                if refusal.code != "illegal_transition":
                    raise
            else:
                self.resolved += 1
                return
