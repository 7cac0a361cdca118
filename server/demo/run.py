"""The simulation of ``callout demo``: a server with a city around one place, with the same accounts at each start."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from rich.console import Console

from callout_client import Api
from engine.process.datadir import create_directory
from engine.process.settings import Settings
from server.demo import dashboard
from server.demo.addresses import Reach, lan_url, local_address
from server.demo.blueprint import demo_environment
from server.demo.city import City
from server.demo.control import DemoControl, DemoRoute, open_control
from server.demo.counters import redis_url
from server.demo.faults import Faults
from server.demo.files import LOGINS_FILE, load_credentials, write_logins, write_town
from server.demo.guests import Guests
from server.demo.old_jobs import cancel_old_jobs
from server.demo.services import create_services
from server.demo.tls import run_forwarder
from server.demo.town_routes import TownRoutes
from server.demo.welcome import print_welcome
from server.simulation.account import Operator
from server.simulation.child_server import ChildServer, admin_token, count_ledger_problems, run_child
from server.simulation.delivery_checker import DeliveryChecker
from server.simulation.person import Pace, Simulation
from server.simulation.town import Town
from server.simulation.town_builder import build_town
from server.simulation.zone_check import check_places

CENTRE = (52.52, 13.405)
REACTION_S, WORK_S = (0.3, 1.2), (10.0, 26.0)
MAX_RECENT_SAMPLES = 20_000
TOWN_SEED = 1
TLS_PORT_OFFSET = 43
"""The difference between the port of TLS (8743) and the server's port."""


@dataclass(frozen=True, slots=True)
class DemoOptions:
    """The options of ``callout demo``. ``duration_s`` is in seconds; None: the demo runs until it is interrupted.
    ``people`` is the number of customers and technicians. ``speed`` is the factor by which they act faster than real
    people.
    """

    settings: Settings
    people: int
    centre: tuple[float, float]
    speed: float
    workers: int
    reach: Reach
    duration_s: float | None
    as_json: bool

    @property
    def pace(self) -> Pace:
        """Return the pace of the people."""
        first, last = (tuple(value / self.speed for value in each) for each in (REACTION_S, WORK_S))
        return Pace(reaction_s=(first[0], first[1]), work_s=(last[0], last[1]), speed=self.speed)


async def run_demo(options: DemoOptions) -> None:
    """Run a server with simulated users until SIGINT, SIGTERM or the end of ``duration_s``. Then print the summary.

    Raises ChildError, CannotStart, Ended, Refusal or Unreachable, possibly in an exception group.
    """
    began_s = time.monotonic()
    console = Console(stderr=options.as_json, highlight=False, soft_wrap=True)
    town = build_town(options.centre, TOWN_SEED)
    check_places(options.settings.zone_areas, town.places.values(), "start the demo in a folder without zones")
    data = create_directory(Path(options.settings.data))
    async with AsyncExitStack() as stack:
        with console.status("the server starts"):
            child = await stack.enter_async_context(_run_server(options, data))
        console.print(f"the server is ready after {time.monotonic() - began_s:.1f} s", style="dim")
        write_town(data, town)
        control = await stack.enter_async_context(open_control(data, is_open=options.reach.is_open))
        control.routes |= TownRoutes(town).routes()
        phone_url = await _open_lan(stack, options, child.url, data, control)
        api = Api(child.url)
        stack.push_async_callback(api.close)
        operator = Operator(api, await admin_token(data, cwd=Path.cwd(), env=os.environ))
        city, guests = await _create_city(options, api, operator, town, data)
        stack.push_async_callback(city.close)
        if old := await cancel_old_jobs(operator):
            console.print(f"{old} jobs of an earlier demo are cancelled, because nobody works on them", style="dim")
        _add_routes(control, city, guests, Faults(child.process.pid, _own_redis(options, data), city.everybody))
        more_people = await city.settle_in(operator, console)
        logins = await guests.create_accounts()
        write_logins(data, logins)
        print_welcome(console, child.url, phone_url, data, logins, options.reach)
        console.print(f"the city is alive after {time.monotonic() - began_s:.1f} s", style="dim")
        with _stop_event() as stop:
            async with asyncio.TaskGroup() as group:
                background = group.create_task(_run_all(child, city, guests, more_people, options, console))
                try:
                    async with asyncio.timeout(options.duration_s):
                        await stop.wait()
                except TimeoutError:
                    stop.set()
                background.cancel()
        await city.settle()
        problems = await count_ledger_problems(data, cwd=Path.cwd(), env=os.environ)
        city.simulation.proofs.ledger_problems = problems
    if options.as_json:
        print(msgspec.json.encode(city.summary()).decode(), flush=True)
    else:
        console.print("\n".join(dashboard.report(city.summary())), markup=False)


async def _create_city(
    options: DemoOptions, api: Api, operator: Operator, town: Town, data: Path
) -> tuple[City, Guests]:
    services = await create_services(operator)
    credentials = load_credentials(data)
    every_service = [each for ids in services.values() for each in ids]
    guests = Guests(api, operator, credentials, every_service, town.middle)
    simulation = Simulation(
        api,
        DeliveryChecker(MAX_RECENT_SAMPLES),
        options.pace,
        secrets.randbits(32),
        every_service[0],
        services=services,
        courtesy_s=guests.courtesy_s,
    )
    return City(simulation, credentials, town, guests, options.people), guests


def _add_routes(control: DemoControl, city: City, guests: Guests, faults: Faults) -> None:
    control.routes |= {
        ("GET", "logins"): DemoRoute(guests.list_logins),
        ("POST", "login"): DemoRoute(guests.log_in),
        ("GET", "counters"): DemoRoute(city.counters.answer, is_for_all=True),
        ("POST", "faults/kill_gateway"): DemoRoute(faults.kill_gateway),
        ("POST", "faults/pause_redis"): DemoRoute(faults.pause_redis),
        ("POST", "faults/cut_phones"): DemoRoute(faults.cut_phones),
    }


async def _run_all(
    child: ChildServer, city: City, guests: Guests, more_people: list[Any], options: DemoOptions, console: Console
) -> None:
    """Run the city, its counters and its dashboard until cancelled. Raises ChildError if the server ends."""
    url = redis_url(Path(options.settings.data), options.settings.redis)
    async with asyncio.TaskGroup() as group:
        group.create_task(_raise_child_error(child))
        group.create_task(city.show_summary(console))
        group.create_task(city.counters.settle_forever())
        if url:
            group.create_task(city.counters.follow_log_forever(url))
        group.create_task(guests.watch_forever())
        await city.run(group, more_people)


async def _open_lan(stack: AsyncExitStack, options: DemoOptions, url: str, data: Path, control: DemoControl) -> str:
    """Open the port of TLS if the options want it, and return the URL for other devices."""
    if not options.reach.has_tls:
        return lan_url(url) if options.reach.is_lan else url
    port = options.settings.port + TLS_PORT_OFFSET if options.settings.port else 0
    forwarder, phone_url = await stack.enter_async_context(run_forwarder(url, local_address(), port, data))
    control.real_peers = forwarder.peers
    return phone_url


def _own_redis(options: DemoOptions, data: Path) -> str | None:
    return None if options.settings.redis else redis_url(data, None)


@asynccontextmanager
async def _run_server(options: DemoOptions, data: Path) -> AsyncIterator[ChildServer]:
    # All users sign in from one address at each start. Rate limits would delay the start by minutes.
    env = demo_environment(options.settings, data)
    env |= {"CALLOUT_LIMITS": "off", "CALLOUT_DEMO": str(data / LOGINS_FILE), "CALLOUT_WORKERS": str(options.workers)}
    if options.reach.is_lan and not options.reach.has_tls:
        env["CALLOUT_HOST"] = "0.0.0.0"
    async with run_child(data, options.settings.port, env=env, cwd=Path.cwd(), log=data / "demo.log") as child:
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


async def _raise_child_error(child: ChildServer) -> None:
    raise await child.wait_for_end()
