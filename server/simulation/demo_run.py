"""The simulation of ``callout demo``: users around one place, with the same accounts at each start."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from callout_client import Api, Ended, Refusal, Unreachable
from engine.process.datadir import create_directory
from engine.process.settings import Settings
from server.simulation import dashboard, seed
from server.simulation.account import Account, Operator, sign_in
from server.simulation.cashier import Cashier
from server.simulation.child_server import ChildServer, admin_token, count_ledger_problems, run_child
from server.simulation.customer import TalkingCustomer
from server.simulation.delivery_checker import DeliveryChecker
from server.simulation.demo_blueprint import demo_environment
from server.simulation.demo_bookings import Bookings
from server.simulation.demo_files import LOGINS_FILE, DemoCredentials, load_credentials, write_logins, write_town
from server.simulation.demo_summary import count_all
from server.simulation.driver import Driver
from server.simulation.mediator import Mediator
from server.simulation.observer import AdminObserver, RecentEvents
from server.simulation.person import Pace, Person, Simulation
from server.simulation.planner import DayPlanner
from server.simulation.progress import count_progress
from server.simulation.town import Town
from server.simulation.town_builder import build_town
from server.simulation.zone_check import check_places

CENTRE = (52.52, 13.405)
PACE = Pace(reaction_s=(0.3, 1.2), work_s=(10.0, 26.0))
DRIVE_S = 80.0
"""About how long a drive to a job takes. If drives take longer, all technicians are busy and jobs wait."""
BUSY_TECHNICIANS_SHARE = 0.6
MAX_RECENT_SAMPLES = 20_000
FORGET_EVERY_S = 30.0
SHOW_EVERY_S = 0.5
TOWN_SEED = 1


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The options of ``callout demo``. ``duration_s`` is in seconds; None: the demo runs until it is interrupted."""

    settings: Settings
    technicians: int
    duration_s: float | None
    as_json: bool


async def run_demo(options: DemoOptions) -> None:
    """Run a server with simulated users until SIGINT, SIGTERM or the end of ``duration_s``. Then print the summary.

    Raises ChildError, Ended, Refusal or Unreachable, possibly in an exception group.
    """
    console = Console(stderr=options.as_json, highlight=False, soft_wrap=True)
    town = build_town(CENTRE, TOWN_SEED)
    check_places(options.settings.zone_areas, town.places.values(), "start the demo in a folder without zones")
    data = create_directory(Path(options.settings.data))
    async with AsyncExitStack() as stack:
        write_town(data, town)
        child = await stack.enter_async_context(_run_server(options.settings, data))
        api = Api(child.url)
        stack.push_async_callback(api.close)
        operator = Operator(api, await admin_token(data, cwd=Path.cwd(), env=os.environ))
        service = await seed.simulation_service(operator)
        demo = DemoRun(
            Simulation(api, DeliveryChecker(MAX_RECENT_SAMPLES), PACE, secrets.randbits(32), service),
            load_credentials(data),
            town,
        )
        stack.push_async_callback(demo.close)
        await demo.seed_users(operator, options.technicians, console)
        write_logins(data, demo.logins())
        dashboard.print_welcome(console, child.url, data, demo.logins())
        with _stop_event() as stop:
            await demo.run(child, stop, options.duration_s, console)
        await demo.settle()
        problems = await count_ledger_problems(data, cwd=Path.cwd(), env=os.environ)
        demo.simulation.proofs.ledger_problems = problems
    if options.as_json:
        print(msgspec.json.encode(demo.summary()).decode(), flush=True)
    else:
        console.print("\n".join(dashboard.report(demo.summary())), markup=False)


@asynccontextmanager
async def _run_server(settings: Settings, data: Path) -> AsyncIterator[ChildServer]:
    # All users sign in from one address at each start. Rate limits would delay the start by minutes.
    env = demo_environment(settings, data) | {"CALLOUT_LIMITS": "off", "CALLOUT_DEMO": str(data / LOGINS_FILE)}
    async with run_child(data, settings.port, env=env, cwd=Path.cwd(), log=data / "demo.log") as child:
        yield child


@contextmanager
def _stop_event() -> Iterator[asyncio.Event]:
    """Yield an event that SIGINT and SIGTERM set. These signals are the normal end of a demo, not a failure."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


class DemoRun:
    """The users of one demo and their activity."""

    def __init__(self, simulation: Simulation, credentials: DemoCredentials, town: Town) -> None:
        self.simulation, self.credentials, self.town = simulation, credentials, town
        self.technicians: list[Driver] = []
        self.customers: list[TalkingCustomer] = []
        self.recent_events = RecentEvents(6)
        self._admin: Account | None = None
        self._staff: list[Person] = []
        self._rng = simulation.random_for("demo")
        self._began_at = asyncio.get_running_loop().time()

    async def seed_users(self, operator: Operator, technicians: int, console: Console) -> None:
        """Create all users. Accounts of an earlier run sign in again."""
        self._admin = await sign_in(self.simulation.api, self._registration("admin", 0), operator)
        await self._add_staff(AdminObserver(self.simulation, self._admin, self.recent_events))
        work = [
            partial(self._add_more_staff, operator),
            *(partial(self._add_technician, operator, number) for number in range(1, technicians + 1)),
            *(partial(self._add_customer, number) for number in range(1, max(4, technicians // 3) + 1)),
        ]
        with count_progress(console, "users ready", len(work)) as count_one:
            await seed.run_all(work, count_one)
        for people in (self.technicians, self.customers):
            people.sort(key=lambda person: person.account.email)  # the order of creation is random

    def _registration(self, role: str, number: int) -> dict[str, Any]:
        return seed.registration(role, number, self.credentials.tag, self.credentials.password)

    async def _add_technician(self, operator: Operator, number: int) -> None:
        who = self._registration("technician", number)
        account = await seed.approved_technician(self.simulation.api, operator, self.simulation.service, who)
        home = self.town.random_crossing(self.simulation.random_for(f"home {number}"))
        self.technicians.append(technician := Driver(self.simulation, account, self.town, home))
        await technician.connect()

    async def _add_customer(self, number: int) -> None:
        account = await sign_in(self.simulation.api, self._registration("customer", number))
        self.customers.append(customer := TalkingCustomer(self.simulation, account))
        await customer.connect()

    async def _add_staff(self, person: Person) -> None:
        self._staff.append(person)
        await person.connect()

    async def _add_more_staff(self, operator: Operator) -> None:
        for role, kind in (("mediator", Mediator), ("service", Cashier), ("ops_manager", DayPlanner)):
            account = await sign_in(self.simulation.api, self._registration(role, 0), operator)
            await self._add_staff(kind(self.simulation, account))

    def logins(self) -> list[tuple[str, str, str]]:
        """Return role, e-mail and password of one admin, one customer and one technician."""
        accounts = [self._admin, self.customers[0].account, self.technicians[0].account]
        return [(a.role, a.email, self.credentials.password) for a in accounts if isinstance(a, Account)]

    async def run(self, child: ChildServer, stop: asyncio.Event, duration_s: float | None, console: Console) -> None:
        """Run all users until ``stop`` is set or ``duration_s`` is over. Raises ChildError if the server ends."""
        self._began_at = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(_run_person(who, who.run())) for who in self.technicians]
            bookings = self._bookings()
            tasks += [group.create_task(_run_person(who, bookings.book_forever(who))) for who in self.customers]
            tasks += [
                group.create_task(_run_person(who, who.run())) for who in self._staff if isinstance(who, DayPlanner)
            ]
            tasks.append(group.create_task(self._show_summary(console)))
            tasks.append(group.create_task(_raise_child_error(child)))
            try:
                async with asyncio.timeout(duration_s):
                    await stop.wait()
            except TimeoutError:
                stop.set()
            for task in tasks:
                task.cancel()

    def _bookings(self) -> Bookings:
        """Return the bookings by which ``BUSY_TECHNICIANS_SHARE`` of the technicians are busy."""
        seconds_a_job = sum(PACE.work_s) / 2 + sum(PACE.reaction_s) / 2 + DRIVE_S
        mean_s = seconds_a_job * len(self.customers) / (BUSY_TECHNICIANS_SHARE * len(self.technicians))
        return Bookings(self.simulation, self.town, self.technicians, self._rng, mean_s)

    async def _show_summary(self, console: Console) -> None:
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
        return {
            "url": self.simulation.api.url,
            "seconds": round(asyncio.get_running_loop().time() - self._began_at, 1),
            "technicians": len(self.technicians),
            "customers": len(self.customers),
            **count_all(self.simulation, self._staff),
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
        await asyncio.gather(*(person.close() for person in (*self.technicians, *self.customers, *self._staff)))


async def _run_person(person: Person, work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` until it fails, then close the connection of ``person``. The demo continues without this user: a
    visitor of the demo may have suspended the user.
    """
    try:
        await work
    except (Ended, Refusal, Unreachable):
        await person.close()


async def _raise_child_error(child: ChildServer) -> None:
    raise await child.wait_for_end()
