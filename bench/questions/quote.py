"""How long does it take to create a quote whose price depends on the demand of its area, and to book with the quote?

One customer requests quotes one after the other, by calls of the engine. The engine reads the service and the zone's
cap on prices from SQL and the demand from Redis, and a script stores the quote. The goal is that of docs/design.md,
chapter 9.
"""

from __future__ import annotations

import argparse
import time

import uvloop

from bench.report import Figure, Report
from bench.rig import SERVER_CORE, Rig, pin_to_core, print_progress
from engine.domain import booking, demand_pulse, quotes, services
from engine.domain.booking import Booking
from engine.identity import accounts
from engine.process.settings import Settings
from engine.rules.pulse import AreaPulse, cell_at
from engine.runtime import Engine
from engine.startup import open_engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, Principal, UserId
from server import logs

GOAL_MS = 5.0
ADMIN = Principal(UserId("cli_admin"), "admin")
LAT, LON = 52.52, 13.405


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark."""
    parser.add_argument("--quotes", type=int, default=500, help="quotes and bookings of a round (default: 500)")


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Request quotes and book with them in each round, and return the report of the times."""
    return uvloop.run(_run(rig, arguments))


async def _run(rig: Rig, arguments: argparse.Namespace) -> Report:
    logs.configure("critical")
    report = Report("quote", (__doc__ or "").split("\n", 1)[0])
    url, _ = rig.start_redis()
    pin_to_core(SERVER_CORE)
    data = rig.folder / "data"
    data.mkdir()
    async with open_engine(Settings(data=str(data), redis=url, limits="off")) as engine:
        customer, wanted = await _create_customer(engine)
        await _time_quotes(engine, customer, wanted, 20)  # the first quotes load data that all others use
        rounds, cpu_ms = [], []
        for number in range(arguments.rounds):
            print_progress(f"round {number + 1}: {arguments.quotes} quotes and bookings")
            before = time.process_time()
            rounds.append(await _time_quotes(engine, customer, wanted, arguments.quotes))
            cpu_ms.append((time.process_time() - before) * 1000 / arguments.quotes)
    report.add(
        Figure("quote, median", "ms", [_percentile(each, 50) for each, _ in rounds], goal=GOAL_MS, better="less"),
        Figure("quote, p99", "ms", [_percentile(each, 99) for each, _ in rounds], better="less"),
        Figure("processor time of a quote and its booking", "ms", cpu_ms, better="less"),
        Figure("booking with a quote, median", "ms", [_percentile(each, 50) for _, each in rounds], better="less"),
    )
    report.notes.append("SQLite; in series, so that the times include every round trip to Redis and SQL")
    return report


async def _create_customer(engine: Engine) -> tuple[Principal, Booking]:
    """Create a customer, a service and a pulse (the current demand and supply) of its area. Return the customer and the
    booking for which they request quotes.
    """
    new = accounts.NewAccount(email="bench@example.org", password="correct horse", name="Bench", role="customer")
    account = await accounts.create_user(engine, ADMIN, new)
    service = services.NewService(name="Plumbing", category="home", base_amount=5_000, currency="EUR")
    offered = (await services.create_service(engine, ADMIN, service)).value
    now = int(await engine.store.command("HGET", keys.zone_meta(DEFAULT_ZONE), "now"))
    pulse = demand_pulse.encode_pulse(AreaPulse(sample=100, multipliers={"managed": 1200}))
    await demand_pulse.store_pulses(engine, DEFAULT_ZONE, "cell", {cell_at(LAT, LON): pulse}, now)
    wanted = Booking(blueprint="managed", service=offered.id, lat=LAT, lon=LON, address="")
    return Principal(account.value.id, "customer", "Bench"), wanted


async def _time_quotes(
    engine: Engine, customer: Principal, wanted: Booking, count: int
) -> tuple[list[float], list[float]]:
    """Return the times (ms) of ``count`` quotes, and of the bookings that use them up."""
    quoted, booked = [], []
    for _ in range(count):
        begin = time.perf_counter()
        promised = await quotes.create_quote(engine, customer, wanted)
        middle = time.perf_counter()
        fields = {"service": wanted.service, "lat": LAT, "lon": LON, "blueprint": "managed", "address": "1 Main St"}
        await booking.book_job(engine, customer, Booking(**fields, quote=promised.id))  # type: ignore[arg-type]
        quoted.append((middle - begin) * 1000)
        booked.append((time.perf_counter() - middle) * 1000)
    return quoted, booked


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
