"""The base of all simulated users: an account, one connection, and a delivery checker for the received events."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from callout_client import Api, Callout, Ended, Listeners, Refusal, Unreachable
from callout_client.listeners import Frame, Status
from server.simulation.account import Account, Operator
from server.simulation.delivery_checker import DeliveryChecker
from server.simulation.drive import METRES_PER_DEGREE, Position
from server.simulation.holder_checker import HolderChecker
from server.simulation.live_delivery import LiveDelivery
from server.simulation.message_checker import MessageChecker
from server.simulation.proofs import Proofs


@dataclass(frozen=True, slots=True)
class Pace:
    """The speed at which simulated users act, in seconds. A seeded generator chooses values from each range."""

    reaction_s: tuple[float, float]
    """The time from the receipt of an offer to its claim."""
    work_s: tuple[float, float]
    """The time from the accepted claim to the completion of the job: all four steps together."""
    fix_s: float = 5.0
    speed: float = 1.0
    """How many times faster than in reality people drive, talk and work."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """The objects and values that all users of one simulation share. ``service`` is that of a job whose blueprint has
    none in ``services``. ``courtesy_s`` is how much longer technicians think of a job at a place, for the sake of a
    person near by.
    """

    api: Api
    checker: DeliveryChecker
    pace: Pace
    seed: int
    service: str
    messages: MessageChecker = field(default_factory=MessageChecker)
    proofs: Proofs = field(default_factory=Proofs)
    holders: HolderChecker = field(default_factory=HolderChecker)
    delivery: LiveDelivery = field(default_factory=LiveDelivery)
    services: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    courtesy_s: Callable[[Position], float] = lambda place: 0.0

    def service_for(self, blueprint: str, rng: random.Random) -> str:
        """Return the service of a new job."""
        return rng.choice(self.services.get(blueprint) or (self.service,))

    def record_claim(self, job: dict[str, Any], technician: str) -> None:
        """Take the job in the reply that says that ``technician`` has it now."""
        self.holders.record_claim(job, technician, time.monotonic())

    def random_for(self, person_name: str) -> random.Random:
        """Return a random generator for one user. Its numbers depend only on the seed and ``person_name``."""
        return random.Random(f"{self.seed}:{person_name}")


class Person:
    """A simulated user with an account and a connection. This base class only receives events."""

    def __init__(self, simulation: Simulation, account: Account | Operator) -> None:
        self.simulation = simulation
        self.account = account
        self.id = ""
        self._tasks: set[asyncio.Task[None]] = set()
        on = Listeners(
            self._record_event,
            joined=self.record_join,
            status=self._record_status,
            repeat=lambda event: simulation.checker.record_duplicate(self.id),
        )
        self.client = Callout(simulation.api.url, account.token, on, api=simulation.api)

    async def connect(self) -> None:
        """Connect the user to the server. Raises Ended or Unreachable."""
        await self.client.open()

    async def close(self) -> None:
        """Stop the tasks that were started, and close the connection."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.simulation.messages.forget_member(self.id)
        self.simulation.delivery.record_leave(self.id)
        await self.client.close()

    def start(self, work: Coroutine[Any, Any, None]) -> None:
        """Run ``work`` as a task. A refusal or a lost connection ends it: the room or the job may be closed by then."""
        self._tasks.add(task := asyncio.create_task(_run_until_refused(work)))
        task.add_done_callback(self._tasks.discard)
        # a task that is cancelled before its first step never awaits ``work``
        task.add_done_callback(lambda _: work.close())

    def record_join(self, ok: Frame) -> None:
        """Read the reply to ``connect``."""
        self.id = ok["user"]["id"]
        self.simulation.checker.record_join(ok)
        self.simulation.delivery.record_join(ok, time.monotonic())
        if not all(zone["recovered"] for zone in ok["zones"].values()):
            self.resynchronise()

    def _record_status(self, status: Status) -> None:
        if status.status != "connected":
            self.simulation.delivery.record_disconnect(self.id)

    def _record_event(self, event: Frame) -> None:
        self.simulation.checker.record_event(self.id, event)
        self.simulation.delivery.record_event(self.id, event)
        if event["type"].startswith("job."):
            self.simulation.holders.record_job(job_in_event(event))
        self.handle(event)

    def handle(self, event: Frame) -> None:
        """Update what the user knows by one event. Must not block: start a task for slow work."""

    def hear(self, job: str, message: Frame) -> None:
        """Take a chat message that somebody else said in the room of a job. Must not block."""

    def resynchronise(self) -> None:
        """Update what the user knows from the server. Called when it may be old: at the first connect, and if the
        server could not resume the session."""


async def _run_until_refused(work: Coroutine[Any, Any, None]) -> None:
    with suppress(Ended, Refusal, Unreachable):
        await work


def random_position_near(rng: random.Random, lat: float, lon: float, metres: float) -> tuple[float, float]:
    """Return a random position up to ``metres`` north or south and up to ``metres`` east or west. Between the polar
    circles the result is accurate enough.
    """
    reach_degrees = metres / METRES_PER_DEGREE
    return (
        round(max(-90.0, min(90.0, lat + rng.uniform(-reach_degrees, reach_degrees))), 6),
        round(max(-180.0, min(180.0, lon + rng.uniform(-reach_degrees, reach_degrees))), 6),
    )


def job_in_event(event: dict[str, Any]) -> dict[str, Any]:
    """Return the job in an event; ``{}`` if the event has none."""
    job = event.get("data", {}).get("job")
    return job if isinstance(job, dict) else {}
