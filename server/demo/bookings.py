"""The bookings of a demo's customers: work of all five blueprints, for now, for the next minute, and for tomorrow."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta

from engine.events import rfc3339_of
from server.simulation.drive import Position, distance_m
from server.simulation.driver import Driver
from server.simulation.person import Simulation
from server.simulation.talking_customer import TalkingCustomer
from server.simulation.town import Town

FIRST_BOOKING_S = 4.0
CANCEL_PROBABILITY = 0.05
BLUEPRINT_WEIGHTS = {"home_service": 40, "managed": 22, "direct_booking": 14, "marketplace": 12, "delivery": 12}
SOON_PROBABILITY, TOMORROW_PROBABILITY = 0.15, 0.15
"""The probability that managed work is booked for the next minute, and the probability that a customer also books for
tomorrow."""
SOON_S = (20.0, 75.0)
NEAR_TRIES = 12
"""The number of random addresses from which the nearest is chosen, for work that must be near a person."""
GUEST_PROBABILITY, GUEST_M = 0.25, 900.0
"""The probability of a booking near a guest technician who waits for work, and its largest distance (m)."""


class Bookings:
    """The bookings of all customers. ``mean_s`` is the mean time between two bookings of one customer, in seconds.
    ``guests`` returns the positions of visitors who wait for work as technicians.
    """

    def __init__(
        self,
        simulation: Simulation,
        town: Town,
        technicians: Sequence[Driver],
        guests: Callable[[], Sequence[Position]],
        rng: random.Random,
        mean_s: float,
    ) -> None:
        self._simulation, self._town, self._technicians, self._rng = simulation, town, technicians, rng
        self._guests = guests
        self._mean_s = mean_s
        self._first = ["home_service", "managed", "direct_booking", "marketplace", "delivery"]
        """The blueprints of the first bookings, so that a visitor soon sees each kind of work."""

    async def book_forever(self, customer: TalkingCustomer) -> None:
        """Book jobs until cancelled, the first one soon. Raises Refusal or Unreachable."""
        await asyncio.sleep(self._rng.uniform(0, FIRST_BOOKING_S))
        while True:
            job = await self._book_now(customer)
            if self._rng.random() < CANCEL_PROBABILITY:
                await asyncio.sleep(self._rng.uniform(0.2, 4.0))
                await customer.cancel(job)
            if self._rng.random() < TOMORROW_PROBABILITY:
                await self._book_tomorrow(customer)
            await asyncio.sleep(self._rng.expovariate(1 / self._mean_s))

    async def _book_now(self, customer: TalkingCustomer) -> str:
        """Book work for now, or for the next minute, and return its id."""
        if near_guest := self._choose_address_of_guest():
            place, address = near_guest
            return await customer.book(*place, address)
        free = [technician for technician in self._technicians if technician.is_free]
        place, address = self._choose_address(free)
        blueprint = self._first.pop(0) if self._first else self._choose_blueprint()
        if blueprint == "direct_booking" and not free:
            blueprint = "home_service"
        if blueprint == "direct_booking":
            nearest = min(free, key=lambda technician: technician.distance_to_m(place))
            job = await customer.book(*place, address, blueprint=blueprint, technician=nearest.id)
            customer.start(customer.cancel_if_unanswered(job))
            return job
        at = ""
        if blueprint == "managed" and self._rng.random() < SOON_PROBABILITY:
            at = rfc3339_of(round(1000 * (time.time() + self._rng.uniform(*SOON_S))))
        job = await customer.book(*place, address, blueprint=blueprint, at=at)
        if blueprint == "marketplace":
            customer.start(customer.cancel_if_without_bids(job))
        return job

    def _choose_blueprint(self) -> str:
        (blueprint,) = self._rng.choices([*BLUEPRINT_WEIGHTS], [*BLUEPRINT_WEIGHTS.values()])
        return blueprint

    def _choose_address_of_guest(self) -> tuple[Position, str] | None:
        """Sometimes return an address near a guest who waits for work."""
        guests = self._guests()
        if not guests or self._rng.random() >= GUEST_PROBABILITY:
            return None
        guest = self._rng.choice(guests)
        near = (each for each in self._draw_addresses(4 * NEAR_TRIES) if distance_m(each[0], guest) < GUEST_M)
        return next(near, None)

    def _choose_address(self, free: Sequence[Driver]) -> tuple[Position, str]:
        """Return a random address. At the beginning it is near a technician, so that a short demo shows the course
        of a job.
        """
        if self._first and free:
            return min(
                self._draw_addresses(NEAR_TRIES), key=lambda each: min(who.distance_to_m(each[0]) for who in free)
            )
        return self._town.random_address(self._rng)

    def _draw_addresses(self, count: int) -> list[tuple[Position, str]]:
        return [self._town.random_address(self._rng) for _ in range(count)]

    async def _book_tomorrow(self, customer: TalkingCustomer) -> None:
        """Book managed work in a free slot of tomorrow, if there is one. It makes nobody busy today."""
        place, address = self._town.random_address(self._rng)
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).date()
        if at := await customer.find_slot(*place, tomorrow, self._rng):
            await customer.book(*place, address, blueprint="managed", at=at)
