"""The bookings of a demo's customers: work for now, for the next minute, and for tomorrow."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from engine.events import rfc3339_of
from server.simulation.customer import TalkingCustomer
from server.simulation.driver import Driver
from server.simulation.person import Simulation
from server.simulation.town import Town

FIRST_BOOKING_S = 2.0
CANCEL_PROBABILITY, DIRECT_PROBABILITY, MANAGED_PROBABILITY = 0.05, 0.15, 0.4
SOON_PROBABILITY, TOMORROW_PROBABILITY = 0.25, 0.5
"""How probable it is that managed work is booked for the next minute, and that a customer also books for tomorrow."""
SOON_S = (20.0, 75.0)
NEAR_TRIES = 12
"""Of how many addresses the nearest to a technician is chosen for the first managed work."""


class Bookings:
    """The bookings of all customers. ``mean_s`` is the mean time between two bookings of one customer, in seconds."""

    def __init__(
        self, simulation: Simulation, town: Town, technicians: Sequence[Driver], rng: random.Random, mean_s: float
    ) -> None:
        self._simulation, self._town, self._technicians, self._rng = simulation, town, technicians, rng
        self._mean_s = mean_s
        self._had_managed = False

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
        place, address = self._town.random_address(self._rng)
        free = [technician for technician in self._technicians if technician.is_free]
        is_first = not self._simulation.checker.count_jobs("booked")
        if free and (is_first or self._rng.random() < DIRECT_PROBABILITY):
            nearest = min(free, key=lambda technician: technician.distance_to_m(place))
            job = await customer.book(*place, address, technician=nearest.id)
            customer.start(customer.cancel_if_unanswered(job))
            return job
        # The place is near a technician, so that a short demo shows a signature and a payment.
        if free and not self._had_managed:
            self._had_managed = True
            addresses = [self._town.random_address(self._rng) for _ in range(NEAR_TRIES)]
            place, address = min(addresses, key=lambda each: min(who.distance_to_m(each[0]) for who in free))
            return await customer.book(*place, address, is_managed=True)
        is_managed, at = self._rng.random() < MANAGED_PROBABILITY, ""
        if is_managed and self._rng.random() < SOON_PROBABILITY:
            at = rfc3339_of(round(1000 * (time.time() + self._rng.uniform(*SOON_S))))
        return await customer.book(*place, address, is_managed=is_managed, at=at)

    async def _book_tomorrow(self, customer: TalkingCustomer) -> None:
        """Book managed work in a free slot of tomorrow, if there is one. It makes nobody busy today."""
        place, address = self._town.random_address(self._rng)
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).date()
        if at := await customer.find_slot(*place, tomorrow, self._rng):
            await customer.book(*place, address, is_managed=True, at=at)
