"""How much shorter are the distances and the waiting times when jobs are matched in windows and not one by one?

A recorded day is replayed over Valkey in simulated time, once for each policy: *at once, nearest* (the engine chooses
for one job at a time, and tries again after 60 s), windows that assign the cheapest pairs first, and windows with the
exact solver. All have the same pickups, technicians and lengths of work. ``TRACE.csv`` has the columns time, lat and
lon, found by their usual names, in any order.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from statistics import mean, quantiles

import uvloop

from bench.load.replayed_city import BLUEPRINT, ReplayedCity, Ride, travel_s
from bench.peers import scipy_assignment
from bench.report import Figure, Report, RoundValues, ratio
from bench.rig import SERVER_CORE, BenchError, Child, PeerUnavailable, Rig, pin_to_core, print_progress
from engine.process.settings import Settings
from engine.rules import assignment
from engine.rules.assignment import NOBODY, Edges
from engine.rules.distances import distance_m
from engine.startup import open_engine
from server import logs
from server.simulation.pickups import Pickup, TraceError, read_trace

AT_ONCE, SHORTEST, EXACT = "at once, nearest", "windows, shortest first", "windows, exact"
MATCH_LINES = {
    AT_ONCE: "",
    SHORTEST: 'match = { solver = "shortest_first" }',
    EXACT: 'match = { solver = "exact" }',
}
NAMES = {AT_ONCE: "at_once", SHORTEST: "shortest_first", EXACT: "exact"}
"""The name of each policy's blueprint. ``--policies`` uses the same names."""
POLICIES = {name: policy for policy, name in NAMES.items()}
GOALS = {900: (0.65, 0.75), 650: (0.5, None)}
"""For each number of technicians: the goals for the mean pickup distance and for the mean time from booking to arrival,
each divided by that of *at once, nearest*. They hold for a replay at 24 times the recorded speed.
"""
GOAL_SPEED = 24.0
WINDOW_JOBS, WINDOW_TECHNICIANS, WINDOW_GOAL_MS = 200, 1000, 100.0
"""The size of the matching window for which docs/design.md, chapter 9 sets a goal, and the goal (ms). Its time includes
the scripts that assign the jobs.
"""
WINDOWS = {"20 × 200": (20, 200), "200 × 1,000": (200, 1000), "1,000 × 1,000": (1000, 1000)}
"""The sizes of the matching windows on which only the solvers are compared: numbers of jobs and technicians."""
NEIGHBOURS = 20
MAX_REPEATS_OF_A_PICKUP = 100
"""How often a window may repeat a pickup of the trace."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark. Each round uses its own random seed."""
    parser.set_defaults(rounds=1)
    parser.add_argument("trace", type=Path, metavar="TRACE.csv", help="recorded pickups: time, lat, lon")
    parser.add_argument("--policies", nargs="+", choices=[*POLICIES], default=[*POLICIES], help="only these")
    parser.add_argument("--no-windows", action="store_true", help="neither time a large window nor the solvers")
    parser.add_argument("--technicians", type=int, nargs="*", default=[900, 650], help="in each replay (900 650)")
    parser.add_argument("--limit", type=int, help="only the earliest pickups")
    parser.add_argument("--speed", type=float, default=GOAL_SPEED, help="times the recorded speed (default: 24)")


def run(rig: Rig, arguments: argparse.Namespace) -> Report:
    """Replay the trace for each number of technicians and each policy, and compare."""
    try:
        pickups = read_trace(arguments.trace, arguments.limit)
    except TraceError as error:
        raise BenchError(str(error)) from error
    if arguments.speed <= 0 or min(arguments.technicians, default=1) < 1:
        raise BenchError("--speed and --technicians must be above 0")
    with pin_to_core(SERVER_CORE):
        return uvloop.run(_run(rig, arguments, pickups))


async def _run(rig: Rig, arguments: argparse.Namespace, pickups: Sequence[Pickup]) -> Report:
    logs.configure("critical")
    report = Report("matching", (__doc__ or "").split("\n", 1)[0])
    folder = rig.folder / "blueprints"
    folder.mkdir()
    for policy, line in MATCH_LINES.items():
        (folder / f"{NAMES[policy]}.toml").write_text(BLUEPRINT.format(name=NAMES[policy], match=line))
    for technicians in arguments.technicians:
        values = RoundValues()
        for number in range(arguments.rounds):
            for policy in _policies(arguments):
                print_progress(f"{technicians} technicians, {policy}, round {number + 1}")
                rides = await _replay(rig, arguments, policy, pickups, technicians, seed=number)
                _note(values, policy, rides)
        is_goal = arguments.speed == GOAL_SPEED and not arguments.limit
        _add_figures(report, values, technicians, _policies(arguments), is_goal=is_goal)
    if not arguments.no_windows:
        await _time_windows(rig, report, arguments, pickups)
        _compare_solvers(report, arguments, pickups)
    report.notes.append(f"{len(pickups)} pickups at {arguments.speed:g} times the recorded speed; a round is a seed")
    return report


def _policies(arguments: argparse.Namespace) -> list[str]:
    return [POLICIES[name] for name in arguments.policies]


async def _replay(
    rig: Rig, arguments: argparse.Namespace, policy: str, pickups: Sequence[Pickup], technicians: int, seed: int
) -> list[Ride]:
    async with _open_city(rig, policy, pickups, technicians, arguments.speed) as (city, _):
        await city.replay(seed)
    return city.rides


@asynccontextmanager
async def _open_city(
    rig: Rig, policy: str, pickups: Sequence[Pickup], technicians: int, speed: float
) -> AsyncIterator[tuple[ReplayedCity, Child]]:
    """Yield a replayed city whose jobs use the policy, with its own database, and the process of its Valkey."""
    url, valkey = rig.start_redis()
    data = rig.folder / f"city-{time.monotonic_ns()}"
    data.mkdir()
    settings = Settings(data=str(data), redis=url, limits="off", blueprints=str(rig.folder / "blueprints"))
    async with open_engine(settings) as engine:
        yield ReplayedCity(engine, NAMES[policy], pickups, technicians, speed), valkey
    valkey.stop()


async def _time_windows(rig: Rig, report: Report, arguments: argparse.Namespace, pickups: Sequence[Pickup]) -> None:
    """Measure one large window, from the reading of its jobs to the last assignment."""
    times, matched = [], 0
    jobs, technicians = min(WINDOW_JOBS, len(pickups)), min(WINDOW_TECHNICIANS, 5 * len(pickups))
    for number in range(arguments.rounds):
        async with _open_city(rig, EXACT, pickups, technicians, arguments.speed) as (city, valkey):
            times.append(await city.time_window(number, jobs, valkey))
            matched = len(city.rides)
    name = f"a window of {jobs} jobs × {technicians:,} technicians"
    goal = WINDOW_GOAL_MS if (jobs, technicians) == (WINDOW_JOBS, WINDOW_TECHNICIANS) else None
    note = f"{matched} jobs were taken in it"
    report.add(
        Figure(f"{name}, with its takes", "ms", [each.total_ms for each in times], goal, better="less", note=note),
        Figure(f"{name}: processor time of the scheduler", "ms", [each.own_ms for each in times], better="less"),
        Figure(f"{name}: processor time of Valkey", "ms", [each.valkey_ms for each in times], better="less"),
    )


def _note(values: RoundValues, policy: str, rides: Sequence[Ride]) -> None:
    pickups = [ride.pickup_m / 1000 for ride in rides]
    waits, arrivals = [ride.waited_s for ride in rides], [ride.arrival_s for ride in rides]
    for name, found in (("pickup", pickups), ("wait", waits), ("arrival", arrivals)):
        values.add(f"{policy}: {name} mean", mean(found))
        values.add(
            f"{policy}: {name} p95", quantiles(found, n=20, method="inclusive")[-1] if len(found) > 1 else found[0]
        )
        values.add(f"{policy}: {name} worst", max(found))


def _add_figures(
    report: Report, values: RoundValues, technicians: int, policies: Sequence[str], *, is_goal: bool
) -> None:
    units = {"pickup": "km", "wait": "s", "arrival": "s"}
    for policy in policies:
        for what, unit in units.items():
            for kind in ("mean", "p95", "worst"):
                name = f"{policy}: {what} {kind}"
                report.add(Figure(f"{technicians} technicians, {name}", unit, values.values[name], better="less"))
    if not {EXACT, AT_ONCE} <= {*policies}:
        return
    goals = GOALS.get(technicians, (None, None)) if is_goal else (None, None)
    for what, goal in zip(("pickup", "arrival"), goals, strict=True):
        ours, theirs = values.values[f"{EXACT}: {what} mean"], values.values[f"{AT_ONCE}: {what} mean"]
        report.add(ratio(f"{technicians} technicians, {what}, exact ÷ at once", ours, theirs, goal=goal, better="less"))


def _compare_solvers(report: Report, arguments: argparse.Namespace, pickups: Sequence[Pickup]) -> None:
    """Solve windows that are drawn from the trace by Callout's solver and by scipy's; the costs must be the same."""
    has_scipy = arguments.peers and _find_scipy(report)
    largest = MAX_REPEATS_OF_A_PICKUP * len(pickups)
    for name, (jobs, technicians) in WINDOWS.items():
        if technicians > largest:  # the trace has so few places that a larger window would repeat each many times
            continue
        ours_ms, theirs_ms = [], []
        for number in range(max(3, arguments.rounds)):
            edges, unmatched = _draw_window(Random(number), pickups, jobs, technicians)
            begun = time.process_time()
            taken = assignment.exact(edges, unmatched)
            ours_ms.append((time.process_time() - begun) * 1000)
            if has_scipy:
                begun = time.process_time()
                least = scipy_assignment.least_cost(edges, unmatched)
                theirs_ms.append((time.process_time() - begun) * 1000)
                if least != _cost(edges, unmatched, taken):
                    raise BenchError(f"{name}: the solver's cost is not the least one")
        report.add(Figure(f"exact solver, {name}, k = {NEIGHBOURS}", "ms", ours_ms, better="less"))
        if has_scipy:
            report.add(Figure(f"scipy, {name}, k = {NEIGHBOURS}", "ms", theirs_ms, better="less"))


def _find_scipy(report: Report) -> bool:
    try:
        scipy_assignment.load_scipy()
        report.add_version("scipy")
    except PeerUnavailable as missing:
        report.unavailable_peers.append(f"scipy: {missing}")
        return False
    return True


def _draw_window(random: Random, pickups: Sequence[Pickup], jobs: int, technicians: int) -> tuple[Edges, list[int]]:
    """Return the edges and the costs of a random window at places of the trace: each job with its nearest technicians,
    in ms of travel.
    """
    places = random.choices(pickups, k=technicians)
    edges = []
    for job in random.choices(pickups, k=jobs):
        costs = [
            (round(1000 * travel_s(distance_m(job.lat, job.lon, each.lat, each.lon))), number)
            for number, each in enumerate(places)
        ]
        edges.append([(number, cost) for cost, number in sorted(costs)[:NEIGHBOURS]])
    return edges, [600_000] * jobs


def _cost(edges: Edges, unmatched: Sequence[int], taken: Sequence[int]) -> int:
    """Return the cost of an assignment."""
    rows = zip(edges, unmatched, taken, strict=True)
    return sum(left if technician == NOBODY else dict(row)[technician] for row, left, technician in rows)
