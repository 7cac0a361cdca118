"""A simulated operations manager, who plans the next day: booked jobs that wait get a technician."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime, timedelta

from callout_client import Refusal
from engine.types import DEFAULT_ZONE
from server.simulation.account import Account
from server.simulation.person import Person, Simulation

FIRST_PLAN_S, PLAN_EVERY_S = 20.0, 60.0
SEARCH_S = 0.5
POLL_S = 0.3


class DayPlanner(Person):
    """A simulated operations manager, who computes a day plan for tomorrow from time to time, and applies it. Jobs that
    a technician has accepted stay with them.
    """

    def __init__(self, simulation: Simulation, account: Account) -> None:
        super().__init__(simulation, account)
        self.moved = 0

    async def run(self) -> None:
        """Plan until cancelled."""
        await asyncio.sleep(FIRST_PLAN_S)
        while True:
            with suppress(Refusal):
                await self.plan_tomorrow()
            await asyncio.sleep(PLAN_EVERY_S)

    async def plan_tomorrow(self) -> None:
        """Compute a plan and apply all its groups. Raises Refusal or Unreachable."""
        tomorrow = datetime.now(UTC).date() + timedelta(days=1)
        body = {"zone": DEFAULT_ZONE, "date": tomorrow.isoformat(), "fixed": "accepted", "budget_s": SEARCH_S}
        plan = (await self.account.request("POST", "/v1/plans", body))["plan"]
        while plan["state"] == "computing":
            await asyncio.sleep(POLL_S)
            plan = (await self.account.request("GET", f"/v1/plans/{plan['id']}"))["plan"]
        if plan["state"] == "ready" and plan["groups"]:
            done = await self.account.request("POST", f"/v1/plans/{plan['id']}/apply", {})
            self.moved += sum(len(plan["groups"][number]["moves"]) for number in done["applied"])
