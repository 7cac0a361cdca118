"""A simulated technician who drives along the streets of a town."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from callout_client.listeners import Frame
from server.simulation.account import Account
from server.simulation.conversations import Conversations
from server.simulation.door_codes import CODE_STEPS, HeardCodes
from server.simulation.drive import Drive, Motion, Position, distance_m
from server.simulation.person import Simulation
from server.simulation.technician import Technician
from server.simulation.town import Crossing, Town

DRIVING_STEPS = {
    ("home_service", "arrive"),
    ("direct_booking", "start"),
    ("managed", "start"),
    ("marketplace", "start"),
    ("delivery", "deliver"),
}
"""The steps of each blueprint before which a technician drives to the job's place."""
SPEED_FACTOR_RANGE = (0.85, 1.0)
"""How fast a driver is, as a part of the speed of each road."""
CRUISE_PROBABILITY = 0.3
"""The probability, at each fix of a parked technician without a job, that they drive to another place."""
HESITATION_S_PER_KM = 4.0
"""How much longer a technician thinks of a job that is a km farther away."""
MAX_HESITATION_M = 1_500.0
"""From this distance on, a technician does not think longer."""
AT_THE_PLACE_S = 3.0
"""The time between the two fixes at the place that show the arrival."""
ACCURACY_M = (4.0, 12.0)


class Driver(Technician):
    """A simulated technician who drives along streets at 25 to 45 km/h, sends fixes as often as the server wants them,
    and talks to customers.
    """

    def __init__(self, simulation: Simulation, account: Account, town: Town, home: Crossing) -> None:
        super().__init__(simulation, account, town.places[home])
        self._town, self._home = town, home
        self._pace = self._rng.uniform(*SPEED_FACTOR_RANGE) * simulation.pace.speed
        self._drive: Drive | None = None
        self._fix_rate: Frame = {}
        self._fix_is_due = asyncio.Event()
        self._conversations = Conversations(self, "technician")
        self._codes = HeardCodes(self._conversations)

    def handle(self, event: Frame) -> None:
        """Update what the technician knows, and take part in the conversations about their jobs."""
        super().handle(event)
        self._conversations.handle(event)
        if event["type"] == "fix":
            self._fix_rate = event["data"]
            self._fix_is_due.set()

    def hear(self, job: str, message: Frame) -> None:
        """Note the codes that a customer says, and answer a visitor."""
        if message["sender"]["role"] == "customer":
            self._codes.hear(job, message["text"])
        self._conversations.answer_visitor(message)

    async def find_proof(self, job: Frame, step: str) -> dict[str, Any] | None:
        """Return the code that a step at the door needs, after asking for it."""
        if (job["blueprint"], step) not in CODE_STEPS:
            return {}
        code = await self._codes.ask(job["id"], step)
        return {"code": code} if code else None

    def record_join(self, ok: Frame) -> None:
        """Read the reply to ``connect``, which has the present rate of fixes: its push may be lost."""
        super().record_join(ok)
        self._fix_rate = ok["fix"]

    def resynchronise(self) -> None:
        """Read the offers and jobs from the server before the next claim."""
        super().resynchronise()
        self._conversations.forget_all()

    def choose_offer(self, offered_jobs: Iterable[Frame]) -> Frame:
        """Return the nearest job."""
        return min(offered_jobs, key=lambda job: self.distance_to_m((job["lat"], job["lon"])))

    def reaction_s(self, job: Frame) -> float:
        """Return how long the technician thinks of an offer: longer if it is far away."""
        far_m = self.distance_to_m((job["lat"], job["lon"]))
        return super().reaction_s(job) + HESITATION_S_PER_KM * min(far_m, MAX_HESITATION_M) / 1000

    def distance_to_m(self, place: Position) -> float:
        """Return the distance to ``place`` as the crow flies."""
        motion = self._motion()
        return distance_m((motion.lat, motion.lon), place)

    async def prepare_step(self, job: Frame, step: str) -> None:
        """Drive to the place, or work for some time. Return earlier if the job is no longer held."""
        if (job["blueprint"], step) not in DRIVING_STEPS:
            return await super().prepare_step(job, step)
        drive = self._start_drive((job["lat"], job["lon"]))
        while self.can_continue(job["id"]) and (rest_s := drive.ends_s - asyncio.get_running_loop().time()) > 0:
            await self.wait_for_change(rest_s)
        for _ in range(2):
            if self.can_continue(job["id"]):
                self._fix_is_due.set()
                await asyncio.sleep(AT_THE_PLACE_S)
        return None

    async def finish_step(self, job: Frame, step: str) -> None:
        """Do nothing: the technician has moved before the step."""

    def _start_drive(self, place: Position) -> Drive:
        now_s = asyncio.get_running_loop().time()
        start = self._drive.next_crossing(now_s) if self._drive else self._home
        motion = self._motion()
        self._drive = self._town.drive((motion.lat, motion.lon), start, place, self._pace, now_s)
        self._fix_is_due.set()
        return self._drive

    def _motion(self) -> Motion:
        if self._drive is None:
            return Motion(*self.at, speed=0.0, heading=0.0)
        return self._drive.motion_at(asyncio.get_running_loop().time())

    async def send_fixes(self) -> None:
        """Send fixes forever, as often as the server wants them. While parked and free, sometimes begin a drive."""
        await asyncio.sleep(self._rng.uniform(0, self.simulation.pace.fix_s))
        while True:
            motion = self._motion()
            if self.is_free and not motion.speed and self._rng.random() < CRUISE_PROBABILITY:
                self._start_drive(self._town.places[self._town.random_crossing(self._rng)])
            await self._send_motion(motion)
            self._fix_is_due.clear()
            pause_s = float(self._fix_rate["every_s"])
            if self._drive and motion.speed:
                rest_s = self._drive.ends_s - asyncio.get_running_loop().time()
                pause_s = max(1.0, min(pause_s, self._fix_rate["distance_m"] / motion.speed, rest_s))
            with suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._fix_is_due.wait()

    async def _send_motion(self, motion: Motion) -> None:
        """Send a fix with the small errors of a real device. A parked device has no heading."""
        accuracy, noise = self._rng.uniform(*ACCURACY_M), self._rng.gauss
        fix = {
            "lat": round(motion.lat + noise(0, 1.5e-5), 6),
            "lon": round(motion.lon + noise(0, 1.5e-5), 6),
            "accuracy": round(accuracy, 1),
            "speed": round(motion.speed * self._rng.uniform(0.95, 1.05), 1),
        }
        if motion.speed:
            fix["heading"] = round((motion.heading + noise(0, 3)) % 360, 1) % 360
        await self.client.send("location", **fix)
