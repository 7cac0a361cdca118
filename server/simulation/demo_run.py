"""The demo's town: a few streets around one centre, whose people come back to the same accounts each time."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections import deque
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from callout_client import Api, Ended, Refusal, Unreachable
from engine.process.datadir import create
from engine.process.settings import Settings
from server.simulation import dashboard, seed
from server.simulation.account import Account, Operator, sign_in
from server.simulation.child_server import Child, admin_token, serving
from server.simulation.customer import Customer
from server.simulation.delivery_checker import DeliveryChecker
from server.simulation.person import City, Pace, Person, near
from server.simulation.progress import counting
from server.simulation.technician import Technician

CENTRE = (52.52, 13.405)
RADIUS_M = 2_500.0
PACE = Pace(reaction_s=(0.3, 1.2), work_s=(4.0, 12.0))
BUSY = 0.6
FIRST_S = 2.0
CHANGES_HIS_MIND = 0.05
REMEMBERED = 20_000
FORGET_S = 30.0
SHOW_S = 0.5
LOGINS = "demo-logins.json"


@dataclass(frozen=True, slots=True)
class Stay:
    """How the demo was asked for; ``lasts_s`` None: until it is interrupted."""

    settings: Settings
    technicians: int
    lasts_s: float | None
    as_json: bool


class Keys(msgspec.Struct):
    """What makes the accounts the same at the next start. The password is drawn, and kept in the data
    directory: a directory that saw a demo may later serve in earnest, and must not have an admin whom
    everybody knows.
    """

    tag: str
    password: str


async def live_town(stay: Stay) -> None:
    """Serve and live until the time is over, SIGINT or SIGTERM; then print the summary.

    Raises ChildError, Ended, Refusal or Unreachable, perhaps in a group.
    """
    console = Console(stderr=stay.as_json, highlight=False, soft_wrap=True)
    data = create(Path(stay.settings.data))
    async with AsyncExitStack() as stack:
        child = await stack.enter_async_context(_server(stay.settings, data))
        api = Api(child.url)
        stack.push_async_callback(api.close)
        operator = Operator(api, await admin_token(data, cwd=Path.cwd(), env=os.environ))
        service = await seed.open_service(operator)
        town = Town(City(api, DeliveryChecker(REMEMBERED), PACE, secrets.randbits(32), service), _keys(data))
        stack.push_async_callback(town.close)
        await town.settle(operator, stay.technicians, console)
        _show_logins(data, town.logins())
        dashboard.welcome(console, child.url, data, town.logins())
        with _interrupted() as stop:
            await town.live(child, stop, stay.lasts_s, console)
    if stay.as_json:
        print(msgspec.json.encode(town.summary()).decode(), flush=True)
    else:
        console.print(dashboard.line(town.summary()))


@asynccontextmanager
async def _server(settings: Settings, data: Path) -> AsyncIterator[Child]:
    # All of the town signs in from one address at each start: limits would hold it up for minutes.
    env = dict(os.environ) | {"CALLOUT_LIMITS": "off", "CALLOUT_DEMO": str(data / LOGINS)}
    async with serving(data, settings.port, env=env, cwd=Path.cwd(), log=data / "demo.log") as child:
        yield child


def _keys(data: Path) -> Keys:
    path = data / "demo.json"
    if path.exists():
        return msgspec.json.decode(path.read_bytes(), type=Keys)
    keys = Keys(secrets.token_hex(3), secrets.token_urlsafe(12))
    path.touch(mode=0o600)
    path.write_bytes(msgspec.json.encode(keys))
    return keys


def _show_logins(data: Path, logins: list[tuple[str, str, str]]) -> None:
    """Leave them where the front page looks for them; only a server that a demo starts does."""
    path = data / LOGINS
    path.touch(mode=0o600)
    path.write_bytes(
        msgspec.json.encode([dict(zip(("role", "email", "password"), login, strict=True)) for login in logins])
    )


@contextmanager
def _interrupted() -> Iterator[asyncio.Event]:
    """An event that SIGINT and SIGTERM set: they are how a demo ends, and no failure of it."""
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    try:
        yield stop
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.remove_signal_handler(number)


class Town:
    """Its people, and what they live through."""

    def __init__(self, city: City, keys: Keys) -> None:
        self.city, self.keys = city, keys
        self.technicians: list[Technician] = []
        self.customers: list[Customer] = []
        self.news = News(6)
        self._admin: Account | None = None
        self._watcher: Person | None = None
        self._rng = city.chance("town")
        self._began = asyncio.get_running_loop().time()

    async def settle(self, operator: Operator, technicians: int, console: Console) -> None:
        """Bring everybody in: those of an earlier run sign in again."""
        self._admin = await sign_in(self.city.api, self._details("admin", 0), operator)
        self._watcher = Watcher(self.city, self._admin, self.news)
        await self._watcher.open()
        work = [
            *(partial(self._technician, operator, number) for number in range(1, technicians + 1)),
            *(partial(self._customer, number) for number in range(1, max(4, technicians // 3) + 1)),
        ]
        with counting(console, "people", len(work)) as done:
            await seed.together(work, done)
        for people in (self.technicians, self.customers):
            people.sort(key=lambda person: person.account.email)  # they came in as they were ready

    def _details(self, role: str, number: int) -> dict[str, Any]:
        return seed.details(role, number, self.keys.tag, self.keys.password)

    async def _technician(self, operator: Operator, number: int) -> None:
        who = self._details("technician", number)
        account = await seed.settle_technician(self.city.api, operator, self.city.service, who)
        home = near(self.city.chance(f"home {number}"), *CENTRE, RADIUS_M)
        self.technicians.append(technician := Technician(self.city, account, home))
        await technician.open()

    async def _customer(self, number: int) -> None:
        account = await sign_in(self.city.api, self._details("customer", number))
        self.customers.append(customer := Customer(self.city, account))
        await customer.open()

    def logins(self) -> list[tuple[str, str, str]]:
        """Role, e-mail and password of one of each kind."""
        known = [self._admin, self.customers[0].account, self.technicians[0].account]
        return [(a.role, a.email, self.keys.password) for a in known if isinstance(a, Account)]

    async def live(self, child: Child, stop: asyncio.Event, lasts_s: float | None, console: Console) -> None:
        """Book, race and work until ``stop`` or ``lasts_s`` is over. Raises ChildError if the server ends."""
        self._began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            lives = [group.create_task(_life(who, who.live())) for who in self.technicians]
            lives += [group.create_task(_life(who, self._wants(who, group))) for who in self.customers]
            lives.append(group.create_task(self._show(console)))
            lives.append(group.create_task(_fail_with(child)))
            try:
                async with asyncio.timeout(lasts_s):
                    await stop.wait()
            except TimeoutError:
                stop.set()
            for life in lives:
                life.cancel()

    async def _wants(self, customer: Customer, group: asyncio.TaskGroup) -> None:
        """Book for ever: the first soon, then so that all together keep so many of the technicians busy."""
        seconds_a_job = sum(PACE.work_s) / 2 + sum(PACE.reaction_s) / 2
        a_second = BUSY * len(self.technicians) / seconds_a_job / len(self.customers)
        await asyncio.sleep(self._rng.uniform(0, FIRST_S))
        while True:
            lat, lon = near(self._rng, *CENTRE, RADIUS_M)
            job = await customer.book(lat, lon, f"{self._rng.randint(1, 200)} Demo Street")
            if self._rng.random() < CHANGES_HIS_MIND:
                await asyncio.sleep(self._rng.uniform(0.2, 4.0))
                await customer.cancel(job)
            await asyncio.sleep(self._rng.expovariate(a_second))

    async def _show(self, console: Console) -> None:
        with dashboard.showing(console) as show:
            forgot = 0.0
            while True:
                await asyncio.sleep(SHOW_S)
                show(self.summary(), list(self.news.lines))
                forgot += SHOW_S
                if forgot >= FORGET_S:
                    forgot = 0.0
                    self.city.tally.forget()

    def summary(self) -> dict[str, Any]:
        """The counts of this run so far."""
        tally = self.city.tally
        ended = {how: tally.count(how) for how in ("completed", "cancelled", "expired")}
        return {
            "url": self.city.api.url,
            "seconds": round(asyncio.get_running_loop().time() - self._began, 1),
            "technicians": len(self.technicians),
            "customers": len(self.customers),
            "jobs": tally.count("booked"),
            "claimed": tally.count("claimed"),
            **ended,
            "claim_attempts": tally.attempts,
            "refused": dict(sorted(tally.refused.items())),
            "double_claims": tally.double_claims(None),
            "duplicate_events": tally.duplicate_events(),
            "time_to_claim_ms": tally.time_to_claim_ms(),
            "event_lag_ms": tally.event_lag_ms(),
        }

    async def close(self) -> None:
        """Everybody leaves."""
        people = [*self.technicians, *self.customers, *([self._watcher] if self._watcher else [])]
        await asyncio.gather(*(person.close() for person in people))


async def _life(person: Person, work: Coroutine[Any, Any, None]) -> None:
    """Live as long as it goes: who is suspended or shut out by somebody trying the demo leaves it alone."""
    try:
        await work
    except (Ended, Refusal, Unreachable):
        await person.close()


async def _fail_with(child: Child) -> None:
    raise await child.ended()


class News:
    """The last things that happened, a line each."""

    def __init__(self, keep: int) -> None:
        self.lines: deque[str] = deque(maxlen=keep)

    def add(self, event: dict[str, Any]) -> None:
        """Take note of an event that people would tell each other."""
        job = event.get("data", {}).get("job")
        if event["type"].startswith("job.") and isinstance(job, dict) and "status" in job:
            who = (job.get("technician") or job.get("customer") or {}).get("name", "")
            self.lines.append(f"{event['at'][11:19]}  …{job['id'][-6:]}  {job['status']:<12} {who}")


class Watcher(Person):
    """The admin at the board: hears what operators hear."""

    def __init__(self, city: City, account: Account, news: News) -> None:
        super().__init__(city, account)
        self._news = news

    def hear(self, event: dict[str, Any]) -> None:
        """Make it news."""
        self._news.add(event)
