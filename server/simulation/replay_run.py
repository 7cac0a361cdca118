"""The simulation of ``callout replay``: recorded pickups become jobs, and technicians compete for them."""

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
from engine.process.embedded import EmbeddedValkey, read_state
from engine.types import DEFAULT_ZONE
from server.simulation import seed
from server.simulation.account import Account, Operator, sign_in
from server.simulation.child_server import ChildServer, admin_token, clean_environment, run_child
from server.simulation.customer import Customer
from server.simulation.delivery_checker import DeliveryChecker
from server.simulation.log_tail import LogTail, open_log_tail
from server.simulation.person import Pace, Person, Simulation, random_position_near
from server.simulation.pickups import Pickup
from server.simulation.progress import count_progress, show_progress
from server.simulation.technician import Technician
from server.simulation.zone_check import check_pickups

PACE = Pace(reaction_s=(0.02, 0.06), work_s=(1.0, 3.0))
JOB_LIFETIME_S = 60
MAX_CUSTOMERS = 40
TECHNICIAN_SPREAD_M = 300.0
POLL_S = 0.1
DELIVERY_TIMEOUT_S = 15.0
JOB_OVERDUE_S = 5.0


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """The options of a replay. ``url`` None: the replay starts its own server. ``speed`` 2: twice as fast."""

    pickups: tuple[Pickup, ...]
    technicians: int
    speed: float
    seed: int
    url: str | None = None
    token: str = ""
    redis: str | None = None


@dataclass(frozen=True, slots=True)
class ReplayTarget:
    """The server that the replay puts under load, and a token for it. ``redis`` is the URL of the server's Redis, None
    if the replay cannot read it. ``child`` is the server's process if the replay started the server."""

    url: str
    token: str
    redis: str | None
    child: ChildServer | None = None


async def run_replay(options: ReplayOptions) -> dict[str, Any]:
    """Run the replay to its end. Return the members that ``callout replay --json`` prints.

    Raises ChildError, Ended, Refusal or Unreachable, possibly in an exception group.
    """
    console = Console(stderr=True)
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(_open_target(options))
        api = Api(target.url)
        stack.push_async_callback(api.close)
        operator = Operator(api, target.token)
        await check_pickups(operator, options.pickups)
        simulation = Simulation(api, DeliveryChecker(), PACE, options.seed, await seed.simulation_service(operator))
        tail = await stack.enter_async_context(open_log_tail(target.redis)) if target.redis else None
        replay = ReplayRun(options, simulation, tail, console)
        stack.push_async_callback(replay.close)
        await replay.seed_users(operator)
        async with asyncio.TaskGroup() as group:
            watch = group.create_task(_raise_when_child_ends(target.child))
            wall_s = await replay.run(group)
            watch.cancel()
        return replay.result(wall_s)


@asynccontextmanager
async def _open_target(options: ReplayOptions) -> AsyncIterator[ReplayTarget]:
    if options.url:
        yield ReplayTarget(options.url, options.token, options.redis)
        return
    with tempfile.TemporaryDirectory(prefix="callout-replay-", ignore_cleanup_errors=True) as home:
        cwd, data = Path(home), Path(home) / "data"  # not the caller's directory: its callout.toml must not apply
        env = clean_environment(limits="off", job_lifetime_s=str(JOB_LIFETIME_S), log_level="warning")
        async with run_child(data, 0, env=env, cwd=cwd, log=cwd / "server.log") as child:
            token = await admin_token(data, cwd=cwd, env=env)
            state = read_state(data / "valkey")
            yield ReplayTarget(
                child.url, token, EmbeddedValkey(data / "valkey", state, None).url if state else None, child
            )


async def _raise_when_child_ends(child: ChildServer | None) -> None:
    if child:
        raise await child.wait_for_end()


class ReplayRun:
    """The users of one replay and its result."""

    def __init__(self, options: ReplayOptions, simulation: Simulation, tail: LogTail | None, console: Console) -> None:
        self.options, self.simulation, self.tail, self.console = options, simulation, tail, console
        self.technicians: list[Technician] = []
        self.customers: list[Customer] = []
        self.observer: Person | None = None
        self.lost_events: int | None = None
        self._rng = random.Random(options.seed)
        self._booked_by: dict[str, Customer] = {}

    async def seed_users(self, operator: Operator) -> None:
        """Create all users: accounts, approvals, connections, positions."""
        self.observer = Person(self.simulation, operator)
        await self.observer.connect()
        tag, password = uuid4().hex[:8], uuid4().hex
        customers = max(1, min(MAX_CUSTOMERS, len(self.options.pickups) // 10))
        work = [
            *(partial(self._add_technician, operator, n, tag, password) for n in range(self.options.technicians)),
            *(partial(self._add_customer, n, tag, password) for n in range(customers)),
        ]
        with count_progress(self.console, "users ready", len(work)) as count_one:
            await seed.run_all(work, count_one)
        self.customers.sort(key=lambda customer: customer.account.email)  # the customers are created in a random order

    async def _add_technician(self, operator: Operator, number: int, tag: str, password: str) -> None:
        who = seed.registration("technician", number, tag, password)
        account = await seed.approved_technician(self.simulation.api, operator, [self.simulation.service], who)
        rng = self.simulation.random_for(f"place {number}")
        pickup = rng.choice(self.options.pickups)
        technician = Technician(
            self.simulation, account, random_position_near(rng, pickup.lat, pickup.lon, TECHNICIAN_SPREAD_M)
        )
        self.technicians.append(technician)
        await technician.connect()

    async def _add_customer(self, number: int, tag: str, password: str) -> None:
        account: Account = await sign_in(self.simulation.api, seed.registration("customer", number, tag, password))
        customer = Customer(self.simulation, account)
        self.customers.append(customer)
        await customer.connect()

    async def run(self, group: asyncio.TaskGroup) -> float:
        """Run until each job is won or expired. Return the seconds from the first booking to that time."""
        tasks = [group.create_task(technician.run()) for technician in self.technicians]
        asking = group.create_task(self._refresh_overdue_jobs())
        started = time.monotonic()
        with show_progress(self.console, "jobs won or expired", len(self.options.pickups)) as update:
            bookings = group.create_task(self._book_all(group, started))
            while not bookings.done() or self._count_decided() < len(self.options.pickups):
                await asyncio.sleep(POLL_S)
                update(self._count_decided(), f"({self.simulation.checker.claim_attempts} claim attempts)")
        wall_s = time.monotonic() - started
        asking.cancel()
        for technician in self.technicians:
            technician.stop_claiming()
        await asyncio.wait(tasks, timeout=DELIVERY_TIMEOUT_S)
        for task in tasks:
            task.cancel()
        if self.options.url:
            await seed.run_all([technician.go_offline for technician in self.technicians])
        await self._wait_for_delivery()
        return wall_s

    def _count_decided(self) -> int:
        return self.simulation.checker.count_jobs("booked") - len(self.simulation.checker.undecided())

    async def _book_all(self, group: asyncio.TaskGroup, started: float) -> None:
        first = self.options.pickups[0].at
        for number, pickup in enumerate(self.options.pickups):
            due = started + (pickup.at - first).total_seconds() / self.options.speed
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            customer = self._rng.choice(self.customers)
            group.create_task(self._book_job(customer, pickup, number))

    async def _book_job(self, customer: Customer, pickup: Pickup, number: int) -> None:
        job = await customer.book(pickup.lat, pickup.lon, f"Pickup {number + 1}")
        self._booked_by[job] = customer

    async def _refresh_overdue_jobs(self) -> None:
        """Read jobs over HTTP that should be over by now. A lost event is counted; it must not block the replay."""
        while True:
            await asyncio.sleep(JOB_OVERDUE_S)
            overdue_since = time.monotonic() - JOB_OVERDUE_S
            for job, outcome in self.simulation.checker.undecided():
                if outcome.expires_at_s < overdue_since:
                    await self._booked_by[job].refresh_job(job)

    async def _wait_for_delivery(self) -> None:
        """Wait for the events that are not delivered yet. An event that is not delivered in ``DELIVERY_TIMEOUT_S``
        counts as lost.
        """
        if self.tail is None:
            return
        end = await self.tail.catch_up()
        deadline = time.monotonic() + DELIVERY_TIMEOUT_S
        while True:
            self.lost_events = self.simulation.checker.lost_events(self.tail.index, DEFAULT_ZONE, end)
            if not self.lost_events or time.monotonic() > deadline:
                break
            await asyncio.sleep(POLL_S)
        unexpected = self.simulation.checker.unexpected_events(self.tail.index, DEFAULT_ZONE)
        if unexpected:
            self.console.print(f"{unexpected} events reached users to whom the log did not address them")

    def result(self, wall_s: float) -> dict[str, Any]:
        """Return the counts and times of the replay. Counts that need the log are None if the log cannot be read."""
        checker, index = self.simulation.checker, self.tail.index if self.tail else None
        return {
            "jobs": checker.count_jobs("booked"),
            "claimed": checker.count_jobs("claimed"),
            "expired": checker.count_jobs("expired"),
            "claim_attempts": checker.claim_attempts,
            "refused": dict(sorted(checker.refusals.items())),
            "double_claims": checker.double_claims(index),
            "lost_events": self.lost_events,
            "duplicate_events": checker.duplicate_events(),
            "time_to_claim_ms": checker.time_to_claim_ms(),
            "event_lag_ms": checker.event_lag_ms(),
            "wall_s": round(wall_s, 3),
        }

    async def close(self) -> None:
        """Close all connections."""
        people = [*self.technicians, *self.customers, *([self.observer] if self.observer else [])]
        await asyncio.gather(*(person.close() for person in people))


def print_result(result: dict[str, Any], *, as_json: bool) -> None:
    """Print the result on stdout: one line of JSON, or one line for each member."""
    if as_json:
        print(msgspec.json.encode(result).decode(), flush=True)
        return
    for name, value in result.items():
        print(f"{name.replace('_', ' ')}: {value}", file=sys.stdout)
