"""What all people of a simulated city have in common: an account, one connection, and a tally of what
comes.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from callout_client import Api, Callout, On
from callout_client.listeners import Frame
from server.simulation.account import Account, Operator
from server.simulation.delivery_checker import DeliveryChecker

METRES_PER_DEGREE = 111_320.0


@dataclass(frozen=True, slots=True)
class Pace:
    """How quick people are, each as a range in seconds that a seeded generator draws from."""

    reaction_s: tuple[float, float]
    """From seeing an offer to claiming it."""
    work_s: tuple[float, float]
    """From winning a job to its completion, all four steps."""
    fix_s: float = 5.0


@dataclass(frozen=True, slots=True)
class City:
    """What the people of one city share."""

    api: Api
    tally: DeliveryChecker
    pace: Pace
    seed: int
    service: str

    def chance(self, who: str) -> random.Random:
        """A generator for one person: the same seed and name draw the same, whatever the others do."""
        return random.Random(f"{self.seed}:{who}")


class Person:
    """Somebody with an account and a live connection. Alone, he only listens: an operator at his board."""

    def __init__(self, city: City, account: Account | Operator) -> None:
        self.city = city
        self.account = account
        self.id = ""
        on = On(self._receive, joined=self._join, repeat=lambda event: city.tally.repeated(self.id))
        self.client = Callout(city.api.url, account.token, on, api=city.api)

    async def open(self) -> None:
        """Connect. Raises Ended or Unreachable."""
        await self.client.open()

    async def close(self) -> None:
        """Leave without a word."""
        await self.client.close()

    def _join(self, ok: Frame) -> None:
        self.id = ok["user"]["id"]
        self.city.tally.joined(ok)
        if not all(zone["recovered"] for zone in ok["zones"].values()):
            self.resynchronise()

    def _receive(self, event: Frame) -> None:
        self.city.tally.received(self.id, event)
        self.hear(event)

    def hear(self, event: Frame) -> None:
        """Take note of one event. Must not wait: what takes time belongs into a loop of his own."""

    def resynchronise(self) -> None:
        """What he knew may be out of date: at the first connect, and where the server could not resume
        him.
        """


def near(rng: random.Random, lat: float, lon: float, metres: float) -> tuple[float, float]:
    """A position up to ``metres`` north or south and as much east or west; good enough below the polar
    circles.
    """
    reach = metres / METRES_PER_DEGREE
    return (
        round(max(-90.0, min(90.0, lat + rng.uniform(-reach, reach))), 6),
        round(max(-180.0, min(180.0, lon + rng.uniform(-reach, reach))), 6),
    )


def job_of(event: dict[str, Any]) -> dict[str, Any]:
    """The job an event tells of, ``{}`` where it tells of none."""
    job = event.get("data", {}).get("job")
    return job if isinstance(job, dict) else {}
