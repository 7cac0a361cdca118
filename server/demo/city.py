"""The simulated people of a demo: their accounts, and what they do until the demo ends."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any

from rich.console import Console

from callout_client import Ended, Refusal, Unreachable
from server.demo import dashboard
from server.demo.bookings import Bookings
from server.demo.counters import Counters
from server.demo.files import DemoCredentials
from server.demo.guests import Guests
from server.demo.summary import count_all
from server.simulation import seed
from server.simulation.account import Operator, sign_in
from server.simulation.cashier import Cashier
from server.simulation.dispatcher import Dispatcher
from server.simulation.driver import Driver
from server.simulation.mediator import Mediator
from server.simulation.observer import AdminObserver, RecentEvents
from server.simulation.person import Person, Simulation
from server.simulation.planner import DayPlanner
from server.simulation.progress import count_progress
from server.simulation.talking_customer import TalkingCustomer
from server.simulation.town import Town

DRIVE_S = 80.0
"""About how long a drive to a job takes. If drives take longer, all technicians are busy and jobs wait."""
BUSY_TECHNICIANS_SHARE = 0.6
MIN_CUSTOMERS = 4
FIRST_PEOPLE = 16
"""The number of people who are created before the demo reports that it is ready. The others are added while the first
ones work."""
MAX_GROWTH = 2
"""The most accounts that are created at the same time after that, because a password hash takes a tenth of a second of
a core."""
FORGET_EVERY_S = 30.0
SHOW_EVERY_S = 0.5
RETRY_S = 3.0

Work = Callable[[], Coroutine[Any, Any, None]]


class City:
    """The people of one demo. ``people`` is the final number of customers and technicians."""

    def __init__(
        self, simulation: Simulation, credentials: DemoCredentials, town: Town, guests: Guests, people: int
    ) -> None:
        self.simulation, self.credentials, self.town, self._guests = simulation, credentials, town, guests
        self.technicians: list[Driver] = []
        self.customers: list[TalkingCustomer] = []
        self.recent_events = RecentEvents(6)
        self.counters = Counters(simulation)
        self._customer_count = max(MIN_CUSTOMERS, people // 4)
        self._technician_count = people - self._customer_count
        self._staff: list[Person] = []
        self._rng = simulation.random_for("demo")
        self._began_at = asyncio.get_running_loop().time()
        self._bookings = self._create_bookings()

    def everybody(self) -> list[Person]:
        """Return all simulated users."""
        return [*self.technicians, *self.customers, *self._staff]

    async def settle_in(self, operator: Operator, console: Console) -> list[partial[Coroutine[Any, Any, None]]]:
        """Create the staff and the first people. Return the work that creates the others. Accounts of an earlier run
        sign in again.
        """
        account = await sign_in(self.simulation.api, self._registration("admin", 0), operator)
        observer = AdminObserver(self.simulation, account, self.recent_events)
        self.counters.observer = observer
        await self._add_staff(observer)
        technicians = [partial(self._add_technician, operator, n) for n in range(1, self._technician_count + 1)]
        customers = [partial(self._add_customer, n) for n in range(1, self._customer_count + 1)]
        ahead = FIRST_PEOPLE // 4
        first = [*technicians[: FIRST_PEOPLE - ahead], *customers[:ahead], partial(self._add_more_staff, operator)]
        with count_progress(console, "the first people arrive", len(first)) as count_one:
            await seed.run_all(first, count_one)
        return [*technicians[FIRST_PEOPLE - ahead :], *customers[ahead:]]

    def _registration(self, role: str, number: int) -> dict[str, Any]:
        return seed.registration(role, number, self.credentials.tag, self.credentials.password)

    async def _add_technician(self, operator: Operator, number: int) -> None:
        services = [service for ids in self.simulation.services.values() for service in ids]
        who = self._registration("technician", number)
        account = await seed.approved_technician(self.simulation.api, operator, services, who)
        home = self.town.random_crossing(self.simulation.random_for(f"home {number}"))
        technician = Driver(self.simulation, account, self.town, home)
        await technician.connect()
        self.technicians.append(technician)

    async def _add_customer(self, number: int) -> None:
        account = await sign_in(self.simulation.api, self._registration("customer", number))
        customer = TalkingCustomer(self.simulation, account)
        await customer.connect()
        self.customers.append(customer)

    async def _add_staff(self, person: Person) -> None:
        self._staff.append(person)
        await person.connect()

    async def _add_more_staff(self, operator: Operator) -> None:
        kinds = (("mediator", Mediator), ("service", Cashier), ("ops_manager", DayPlanner), ("ops_manager", Dispatcher))
        for number, (role, kind) in enumerate(kinds):
            account = await sign_in(self.simulation.api, self._registration(role, number), operator)
            await self._add_staff(kind(self.simulation, account))

    async def run(self, group: asyncio.TaskGroup, more_people: list[partial[Coroutine[Any, Any, None]]]) -> None:
        """Run all people until cancelled. Those of ``more_people`` are added while the first ones work."""
        self._began_at = asyncio.get_running_loop().time()
        at_work: set[Person] = set()
        free = asyncio.Semaphore(MAX_GROWTH)

        def begin_all() -> None:
            for person in self.everybody():
                if person not in at_work and (work := self._work_of(person)):
                    at_work.add(person)
                    group.create_task(run_person(person, work))

        async def add_one(add: partial[Coroutine[Any, Any, None]]) -> None:
            async with free:
                with suppress(Refusal, Unreachable, Ended):
                    await add()
            begin_all()

        begin_all()
        await asyncio.gather(*(add_one(add) for add in more_people))

    def _work_of(self, person: Person) -> Work | None:
        """Return the continuous work of a person; None if they only react to events."""
        if isinstance(person, TalkingCustomer):
            return partial(self._bookings.book_forever, person)
        return person.run if isinstance(person, Driver | DayPlanner) else None

    def _create_bookings(self) -> Bookings:
        """Return bookings at a rate that keeps ``BUSY_TECHNICIANS_SHARE`` of the technicians busy."""
        pace = self.simulation.pace
        seconds_a_job = sum(pace.work_s) / 2 + sum(pace.reaction_s) / 2 + DRIVE_S / pace.speed
        mean_s = seconds_a_job * self._customer_count / (BUSY_TECHNICIANS_SHARE * self._technician_count)
        guests = self._guests.free_technicians
        return Bookings(self.simulation, self.town, self.technicians, guests, self._rng, mean_s)

    async def show_summary(self, console: Console) -> None:
        """Show the summary until cancelled."""
        with dashboard.open_display(console) as show:
            since_forget_s = 0.0
            while True:
                await asyncio.sleep(SHOW_EVERY_S)
                show(self.summary(), list(self.recent_events.lines))
                since_forget_s += SHOW_EVERY_S
                if since_forget_s >= FORGET_EVERY_S:
                    since_forget_s = 0.0
                    self.simulation.checker.drop_finished()

    def summary(self) -> dict[str, Any]:
        """Return the counts of this run until now."""
        counters = self.counters.read()
        return {
            "url": self.simulation.api.url,
            "seconds": round(asyncio.get_running_loop().time() - self._began_at, 1),
            "technicians": len(self.technicians),
            "customers": len(self.customers),
            **count_all(self.simulation, self._staff),
            **{name: counters[name] for name in ("claims", "two_holders", "lost", "doubled")},
        }

    async def settle(self) -> None:
        """Verify the signed receipts, pay the technicians out and compare the books, if the server still answers."""
        cashier = next(person for person in self._staff if isinstance(person, Cashier))
        everybody = self.technicians
        for work in (cashier.verify_receipts(), cashier.pay_out(everybody), cashier.read_books(everybody)):
            with suppress(Refusal, Unreachable, TimeoutError):
                await work

    async def close(self) -> None:
        """Close all connections."""
        await asyncio.gather(*(person.close() for person in self.everybody()))


async def run_person(person: Person, work: Work) -> None:
    """Run the ``work`` of a person repeatedly. A fault of the server only interrupts it. The work ends if the account
    may no longer work, because a visitor of the demo may have suspended it.
    """
    while True:
        try:
            return await work()
        except Ended:
            return await person.close()
        except Refusal as refusal:
            if refusal.close_code:
                return await person.close()
        except Unreachable:
            pass
        person.resynchronise()
        await asyncio.sleep(RETRY_S)
