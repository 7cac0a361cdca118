"""A simulated technician: waits for offers, races for them, does the job, moves about."""

from __future__ import annotations

import asyncio

from callout_client import Refusal, Unreachable
from callout_client.listeners import Frame
from server.simulation.account import Account
from server.simulation.person import City, Person, job_of, near

NEXT_STEP = {"accepted": "depart", "on_the_way": "arrive", "reached": "start", "in_progress": "complete"}
DRIFT_M = 40.0


class Technician(Person):
    """Claims whatever he is offered while he is free, oldest first, one at a time.

    Once he has reached for an offer he presses, though it may be taken by then: a thumb on its way is not
    called back by an `offer.closed`, and without that simulated people would hardly ever race.
    """

    def __init__(self, city: City, account: Account, at: tuple[float, float]) -> None:
        super().__init__(city, account)
        self.at = at
        self.online = False
        self._rng = city.chance(account.name)
        self._open: dict[str, None] = {}
        self._held: dict[str, str] = {}
        self._stale = False
        self._resting = False
        self._wake = asyncio.Event()

    async def open(self) -> None:
        """Connect and go online where he stands."""
        await super().open()
        await self.client.request("availability", online=True, lat=self.at[0], lon=self.at[1])
        self.online = True

    async def go_home(self) -> None:
        """Go offline, so that nobody is offered anything on his account until his lease ends."""
        await self.client.request("availability", online=False)

    async def live(self) -> None:
        """Race and work until cancelled, or until ``rest`` and nothing in hand. Raises Ended."""
        fixes = asyncio.create_task(self._send_fixes())
        try:
            await self._race()
        finally:
            fixes.cancel()

    def rest(self) -> None:
        """Claim no more; what he holds he finishes."""
        self._resting = True
        self._wake.set()

    def hear(self, event: Frame) -> None:
        """Keep the list of open offers as the app does."""
        if event["type"] == "offer.created":
            self._open[event["data"]["offer"]["job"]["id"]] = None
            self._wake.set()
        elif event["type"] == "offer.closed":
            self._open.pop(job_of(event)["id"], None)
        elif event["type"] in ("job.cancelled", "job.unassigned"):
            self._held.pop(job_of(event)["id"], None)

    def resynchronise(self) -> None:
        """Ask for open offers and held jobs before the next claim; a new account has neither."""
        self._stale = self.online or self.account.returning
        self._wake.set()

    async def _race(self) -> None:
        while not (self._resting and not self._held):
            if self._stale:
                await self._look()
            elif self._held:
                await self._work(*next(iter(self._held.items())))
            elif self._open and not self._resting:
                await self._reach_for(next(iter(self._open)))
            else:
                self._wake.clear()
                await self._wake.wait()

    async def _look(self) -> None:
        self._stale = False
        offers = await self.account.request("GET", "/v1/offers")
        self._open = {offer["job"]["id"]: None for offer in offers["items"]}
        for phase in ("assigned", "active"):
            held = await self.account.request("GET", f"/v1/jobs?phase={phase}")
            self._held |= {job["id"]: job["status"] for job in held["items"]}

    async def _reach_for(self, job: str) -> None:
        self._open.pop(job)
        await asyncio.sleep(self._rng.uniform(*self.city.pace.reaction_s))
        tally = self.city.tally
        tally.attempts += 1
        try:
            won = (await self.client.request("claim", job=job))["job"]
        except Refusal as refusal:
            tally.refused[refusal.code] += 1
        except Unreachable:
            tally.refused["indeterminate"] += 1
            self._stale = True
        else:
            tally.won(job, self.id)
            self._held[job] = won["status"]

    async def _work(self, job: str, status: str) -> None:
        step = NEXT_STEP.get(status)
        if step is None:
            self._held.pop(job, None)
            return
        await asyncio.sleep(self._rng.uniform(*self.city.pace.work_s) / len(NEXT_STEP))
        try:
            done = (await self.client.request("command", job=job, command=step))["job"]
        except Refusal:
            self._held.pop(job, None)  # cancelled, or given to another, while he was at it
        except Unreachable:
            self._stale = True
        else:
            await self._move(step, done["lat"], done["lon"])
            self._held[job] = done["status"]

    async def _move(self, step: str, lat: float, lon: float) -> None:
        if step == "depart":
            self.at = ((self.at[0] + lat) / 2, (self.at[1] + lon) / 2)
        elif step == "arrive":
            self.at = (lat, lon)
        else:
            return
        await self._send_fix()

    async def _send_fixes(self) -> None:
        await asyncio.sleep(self._rng.uniform(0, self.city.pace.fix_s))
        while True:
            if not self._held:
                self.at = near(self._rng, *self.at, DRIFT_M)
            await self._send_fix()
            await asyncio.sleep(self.city.pace.fix_s)

    async def _send_fix(self) -> None:
        await self.client.tell("location", lat=self.at[0], lon=self.at[1])
