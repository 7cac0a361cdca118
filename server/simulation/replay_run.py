"""A recorded day run through a server: who takes part, when what is booked, and what it came to."""

from __future__ import annotations

import asyncio
import random
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import msgspec
from rich.console import Console

from callout_client import Api
from engine.process.embedded import Embedded, read_state
from engine.types import DEFAULT_ZONE
from server.simulation import seed as settlers
from server.simulation.account import Account, Operator, sign_in
from server.simulation.child_server import Child, admin_token, own_environment, serving
from server.simulation.customer import Customer
from server.simulation.delivery_checker import DeliveryChecker
from server.simulation.log_tail import LogTail, tailing
from server.simulation.person import City, Pace, Person, near
from server.simulation.pickups import Pickup
from server.simulation.progress import counting, progress
from server.simulation.technician import Technician

PACE = Pace(reaction_s=(0.02, 0.06), work_s=(1.0, 3.0))
JOB_LIFETIME_S = 60
MOST_CUSTOMERS = 40
SPREAD_M = 300.0
LOOK_S = 0.1
SETTLE_S = 15.0
OVERDUE_S = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run and where; without ``url`` a server of its own."""

    pickups: tuple[Pickup, ...]
    technicians: int
    speed: float
    seed: int
    url: str | None = None
    token: str = ""
    redis: str | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """A server to play against: ``redis`` is None where its log cannot be read."""

    url: str
    token: str
    redis: str | None
    child: Child | None = None


async def run_day(plan: Plan) -> dict[str, Any]:
    """Run ``plan`` to its end; the result has the members that ``callout replay --json`` prints.

    Raises ChildError, Ended, Refusal or Unreachable, perhaps in a group.
    """
    console = Console(stderr=True)
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(_target(plan))
        api = Api(target.url)
        stack.push_async_callback(api.close)
        operator = Operator(api, target.token)
        city = City(api, DeliveryChecker(), PACE, plan.seed, await settlers.open_service(operator))
        tail = await stack.enter_async_context(tailing(target.redis)) if target.redis else None
        day = Day(plan, city, tail, console)
        stack.push_async_callback(day.close)
        await day.settle(operator)
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_watch(target.child))
            wall_s = await day.run(group)
            watch.cancel()
        return day.result(wall_s)


@asynccontextmanager
async def _target(plan: Plan) -> AsyncIterator[Target]:
    if plan.url:
        yield Target(plan.url, plan.token, plan.redis)
        return
    with tempfile.TemporaryDirectory(prefix="callout-replay-", ignore_cleanup_errors=True) as home:
        cwd, data = Path(home), Path(home) / "data"  # elsewhere, a callout.toml would have its say
        env = own_environment(limits="off", job_lifetime_s=str(JOB_LIFETIME_S), log_level="warning")
        async with serving(data, 0, env=env, cwd=cwd, log=cwd / "server.log") as child:
            token = await admin_token(data, cwd=cwd, env=env)
            state = read_state(data / "valkey")
            yield Target(child.url, token, Embedded(data / "valkey", state, None).url if state else None, child)


async def _watch(child: Child | None) -> None:
    if child:
        raise await child.ended()


class Day:
    """The people of one replay."""

    def __init__(self, plan: Plan, city: City, tail: LogTail | None, console: Console) -> None:
        self.plan, self.city, self.tail, self.console = plan, city, tail, console
        self.technicians: list[Technician] = []
        self.customers: list[Customer] = []
        self.board: Person | None = None
        self.lost: int | None = None
        self._rng = random.Random(plan.seed)
        self._booked_by: dict[str, Customer] = {}

    async def settle(self, operator: Operator) -> None:
        """Bring everybody in: accounts, approvals, connections, positions."""
        self.board = Person(self.city, operator)
        await self.board.open()
        tag, password = uuid4().hex[:8], uuid4().hex
        customers = max(1, min(MOST_CUSTOMERS, len(self.plan.pickups) // 10))
        work = [
            *(partial(self._technician, operator, n, tag, password) for n in range(self.plan.technicians)),
            *(partial(self._customer, n, tag, password) for n in range(customers)),
        ]
        with counting(self.console, "people", len(work)) as done:
            await settlers.together(work, done)
        self.customers.sort(key=lambda customer: customer.account.email)  # whoever happened to be first

    async def _technician(self, operator: Operator, number: int, tag: str, password: str) -> None:
        who = settlers.details("technician", number, tag, password)
        account = await settlers.settle_technician(self.city.api, operator, self.city.service, who)
        chance = self.city.chance(f"place {number}")
        pickup = chance.choice(self.plan.pickups)
        technician = Technician(self.city, account, near(chance, pickup.lat, pickup.lon, SPREAD_M))
        self.technicians.append(technician)
        await technician.open()

    async def _customer(self, number: int, tag: str, password: str) -> None:
        account: Account = await sign_in(self.city.api, settlers.details("customer", number, tag, password))
        customer = Customer(self.city, account)
        self.customers.append(customer)
        await customer.open()

    async def run(self, group: asyncio.TaskGroup) -> float:
        """From the first booking to the last job won or expired; returns those seconds."""
        lives = [group.create_task(technician.live()) for technician in self.technicians]
        asking = group.create_task(self._ask_after_overdue())
        started = time.monotonic()
        with progress(self.console, "jobs won or expired", len(self.plan.pickups)) as tell:
            bookings = group.create_task(self._book_all(group, started))
            while not bookings.done() or self._decided() < len(self.plan.pickups):
                await asyncio.sleep(LOOK_S)
                tell(self._decided(), f"({self.city.tally.attempts} claims)")
        wall_s = time.monotonic() - started
        asking.cancel()
        for technician in self.technicians:
            technician.rest()
        await asyncio.wait(lives, timeout=SETTLE_S)
        for life in lives:
            life.cancel()
        if self.plan.url:
            await settlers.together([technician.go_home for technician in self.technicians])
        await self._settle_log()
        return wall_s

    def _decided(self) -> int:
        return self.city.tally.count("booked") - len(self.city.tally.undecided())

    async def _book_all(self, group: asyncio.TaskGroup, started: float) -> None:
        first = self.plan.pickups[0].at
        for number, pickup in enumerate(self.plan.pickups):
            due = started + (pickup.at - first).total_seconds() / self.plan.speed
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            customer = self._rng.choice(self.customers)
            group.create_task(self._book(customer, pickup, number))

    async def _book(self, customer: Customer, pickup: Pickup, number: int) -> None:
        job = await customer.book(pickup.lat, pickup.lon, f"Pickup {number + 1}")
        self._booked_by[job] = customer

    async def _ask_after_overdue(self) -> None:
        """Ask by HTTP after jobs that should have been over: a lost event must be counted, not waited for."""
        while True:
            await asyncio.sleep(OVERDUE_S)
            late = time.monotonic() - OVERDUE_S
            for job, course in self.city.tally.undecided():
                if course.expires < late:
                    await self._booked_by[job].ask_after(job)

    async def _settle_log(self) -> None:
        """Give what was on its way at the end the time to come; what has not come by then is lost."""
        if self.tail is None:
            return
        end = await self.tail.catch_up()
        deadline = time.monotonic() + SETTLE_S
        while True:
            self.lost = self.city.tally.lost_events(self.tail.logged, DEFAULT_ZONE, end)
            if not self.lost or time.monotonic() > deadline:
                break
            await asyncio.sleep(LOOK_S)
        strange = self.city.tally.strange_events(self.tail.logged, DEFAULT_ZONE)
        if strange:
            self.console.print(f"{strange} events came to people to whom the log did not address them")

    def result(self, wall_s: float) -> dict[str, Any]:
        """What it came to; counts that need the log are None without it."""
        tally, logged = self.city.tally, self.tail.logged if self.tail else None
        return {
            "jobs": tally.count("booked"),
            "claimed": tally.count("claimed"),
            "expired": tally.count("expired"),
            "claim_attempts": tally.attempts,
            "refused": dict(sorted(tally.refused.items())),
            "double_claims": tally.double_claims(logged),
            "lost_events": self.lost,
            "duplicate_events": tally.duplicate_events(),
            "time_to_claim_ms": tally.time_to_claim_ms(),
            "event_lag_ms": tally.event_lag_ms(),
            "wall_s": round(wall_s, 3),
        }

    async def close(self) -> None:
        """Everybody leaves."""
        people = [*self.technicians, *self.customers, *([self.board] if self.board else [])]
        await asyncio.gather(*(person.close() for person in people))


def report(result: dict[str, Any], *, as_json: bool) -> None:
    """The result on stdout: one line of JSON, or a line for each member."""
    if as_json:
        print(msgspec.json.encode(result).decode(), flush=True)
        return
    for name, value in result.items():
        print(f"{name.replace('_', ' ')}: {value}", file=sys.stdout)
