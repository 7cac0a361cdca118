"""The users of a soak (a long run under steady load): customers book at a fixed rate, technicians win the jobs, send
positions, work and talk.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

import engine.blueprint
from callout_client import Refusal, Unreachable
from callout_client.listeners import Frame
from server.simulation import seed
from server.simulation.account import Account, Operator, sign_in
from server.simulation.conversations import Conversations
from server.simulation.customer import Customer
from server.simulation.person import Pace, Simulation, random_position_near
from server.simulation.progress import count_progress
from server.simulation.talking_customer import TalkingCustomer
from server.simulation.technician import Technician

CENTRE, CITY_M = (52.52, 13.405), 10_000.0
PACE = Pace(reaction_s=(0.05, 0.2), work_s=(4.0, 10.0))
BUSY_SHARE = 0.6
"""The share of the technicians who have a job at any time, if the server carries the rate."""
JOBS_A_CUSTOMER_S = 0.5
FORGET_EVERY_S = 10.0
ROOM_CLOSES_S = 15
"""How long a room stays open after its job. The shipped blueprint says a day: all rooms of a run would only pile up."""
_BLUEPRINT_CHANGES = {
    "closes_s = 86400": f"closes_s = {ROOM_CLOSES_S}",
    "size = 10": "size = 3",
    "size = 20": "size = 6",
}
PASSWORD = "correct horse battery"


def write_blueprint(folder: Path) -> None:
    """Write ``home_service`` with rooms that close soon, and with smaller waves, to a new folder of blueprints."""
    text = (Path(engine.blueprint.__file__).parent / "shipped" / "home_service.toml").read_text()
    for shipped, changed in _BLUEPRINT_CHANGES.items():
        if text.count(shipped) != 1:
            raise ValueError(f"home_service.toml has {text.count(shipped)} times {shipped!r}")
        text = text.replace(shipped, changed)
    folder.mkdir()
    (folder / "home_service.toml").write_text(text)


class TalkingTechnician(Technician):
    """A simulated technician who also talks to the customers of their jobs."""

    def __init__(
        self, simulation: Simulation, account: Account, at: tuple[float, float], speak_probability: float
    ) -> None:
        super().__init__(simulation, account, at)
        self._conversations = Conversations(self, "technician", speak_probability)

    def handle(self, event: Frame) -> None:
        """Update what the technician knows, and take part in the conversations about their jobs."""
        super().handle(event)
        self._conversations.handle(event)


@dataclass
class BookingCounts:
    """How many bookings were made, and how many failed."""

    booked: int = 0
    failed: int = 0


class SoakUsers:
    """The connected users of a run."""

    def __init__(self, simulation: Simulation, jobs_per_s: float, speak_probability: float) -> None:
        self._simulation, self._jobs_per_s, self._speak = simulation, jobs_per_s, speak_probability
        self._technicians: list[TalkingTechnician] = []
        self._customers: list[TalkingCustomer] = []
        self._random = random.Random(simulation.seed)
        self.counts = BookingCounts()

    async def connect(self, operator: Operator, console: Console) -> None:
        """Create and connect as many users as the rate needs."""
        seconds_a_job = (sum(PACE.work_s) + sum(PACE.reaction_s)) / 2
        technicians = max(2, round(self._jobs_per_s * seconds_a_job / BUSY_SHARE))
        customers = max(1, round(self._jobs_per_s / JOBS_A_CUSTOMER_S))
        work = [
            *(partial(self._add_technician, operator, number) for number in range(technicians)),
            *(partial(self._add_customer, number) for number in range(customers)),
        ]
        with count_progress(console, "users ready", len(work)) as count_one:
            await seed.run_all(work, count_one)

    async def _add_technician(self, operator: Operator, number: int) -> None:
        who = seed.registration("technician", number, "soak", PASSWORD)
        account = await seed.approved_technician(self._simulation.api, operator, [self._simulation.service], who)
        technician = TalkingTechnician(self._simulation, account, self._random_place(), self._speak)
        self._technicians.append(technician)
        await technician.connect()

    async def _add_customer(self, number: int) -> None:
        account = await sign_in(self._simulation.api, seed.registration("customer", number, "soak", PASSWORD))
        self._customers.append(customer := TalkingCustomer(self._simulation, account, self._speak))
        await customer.connect()

    def _random_place(self) -> tuple[float, float]:
        return random_position_near(self._random, *CENTRE, CITY_M / 2)

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        """Let the users book, claim, work and talk while the block runs. A user who fails ends the block."""
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(technician.run()) for technician in self._technicians]
            tasks += [group.create_task(self._book_jobs(group)), group.create_task(self._forget_finished_jobs())]
            yield
            for task in tasks:
                task.cancel()

    async def _book_jobs(self, group: asyncio.TaskGroup) -> None:
        """Book at fixed times, whether or not the bookings before are answered."""
        began = time.monotonic()
        for number in itertools.count():
            await asyncio.sleep(max(0.0, began + number / self._jobs_per_s - time.monotonic()))
            group.create_task(self._book_job(self._customers[number % len(self._customers)], number))

    async def _book_job(self, customer: Customer, number: int) -> None:
        try:
            await customer.book(*self._random_place(), f"Torstrasse {number}")
            self.counts.booked += 1
        except (Refusal, Unreachable):
            self.counts.failed += 1

    async def _forget_finished_jobs(self) -> None:
        while True:
            await asyncio.sleep(FORGET_EVERY_S)
            self._simulation.checker.drop_finished()

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(person.close() for person in [*self._technicians, *self._customers]))
