"""How much less do technicians travel on a planned day than on a day where each booking goes at once to the best
technician?

A round is one day, drawn from a random seed. Three planners get the same day: greedy insertion (one job after the
other, each where it adds the least travel), Callout's ruin and recreate with a budget of ``--seconds`` of processor
time, and VROOM, which ends by itself. A checker checks the day of each technician; a broken window, skill or shift ends
the benchmark.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path
from random import Random

from bench.load.day_instances import Place, check_day, make_day
from bench.peers import vroom
from bench.peers.catalogue import PEERS
from bench.report import Figure, Report, RoundValues, ratio
from bench.rig import BenchError, PeerUnavailable, Rig, print_progress
from engine.rules.routing import DayProblem, DayTours, given_tours, insert_greedily
from engine.rules.routing_search import improve
from server.simulation.pickups import TraceError, read_trace

GREEDY, OURS, VROOM = "greedy insertion", "ruin and recreate", "VROOM"


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of this benchmark. Each round uses its own random seed, and ``--seconds`` is the time for one
    plan.
    """
    parser.set_defaults(rounds=5, seconds=2.0)
    parser.add_argument("--jobs", type=int, default=100, help="jobs of a day (default: 100)")
    parser.add_argument("--technicians", type=int, default=10, help="technicians of a day (default: 10)")
    parser.add_argument("--first-seed", type=int, default=1, help="the seed of the first round (default: 1)")
    parser.add_argument("--trace", type=Path, help="a CSV of pickups as the places (default: a made-up city)")


def run(_: Rig, arguments: argparse.Namespace) -> Report:
    """Plan a day for each seed with every planner, and compare travel and served jobs."""
    report = Report("plan", (__doc__ or "").split("\n", 1)[0])
    pool = _read_places(arguments)
    has_vroom = arguments.peers and _find_vroom(report)
    values = RoundValues()
    for seed in range(arguments.first_seed, arguments.first_seed + arguments.rounds):
        print_progress(f"seed {seed}: {arguments.jobs} jobs, {arguments.technicians} technicians")
        random = Random(seed)
        problem = make_day(random, pool, arguments.jobs, arguments.technicians)
        greedy = insert_greedily(problem, given_tours(problem, [()] * arguments.technicians))
        _note(values, problem, GREEDY, _visits(greedy))
        _note(values, problem, OURS, _visits(_plan_within(problem, greedy, random, arguments.seconds, values)))
        if has_vroom:
            _note(values, problem, VROOM, vroom.solve(problem))
    _add_figures(report, values, has_vroom)
    report.notes.append("windows, skills and shifts of every plan hold, by a checker of its own")
    return report


def _read_places(arguments: argparse.Namespace) -> list[Place] | None:
    """Return the different places of the trace; None without a trace. Raise BenchError when it cannot be used."""
    if arguments.trace is None:
        return None
    try:
        places = sorted({(pickup.lat, pickup.lon) for pickup in read_trace(arguments.trace)})
    except TraceError as error:
        raise BenchError(str(error)) from error
    needed = arguments.jobs + arguments.technicians
    if len(places) < needed:
        raise BenchError(f"{arguments.trace}: {len(places)} different places, {needed} are needed")
    return places


def _find_vroom(report: Report) -> bool:
    try:
        vroom.load_vroom()
        report.add_version(VROOM)
    except PeerUnavailable as missing:
        report.unavailable_peers.append(f"VROOM: {missing}")
        return False
    return True


def _plan_within(problem: DayProblem, day: DayTours, random: Random, budget_s: float, values: RoundValues) -> DayTours:
    began, tries = time.process_time(), 0

    def used_share() -> float:
        nonlocal tries
        tries += 1
        return (time.process_time() - began) / budget_s

    found = improve(problem, day, random, used_share)
    values.add("tries", tries / (time.process_time() - began))
    return found


def _visits(day: DayTours) -> list[tuple[int, ...]]:
    return [tour.visits for tour in day.tours]


def _note(values: RoundValues, problem: DayProblem, planner: str, tours: Sequence[Sequence[int]]) -> None:
    """Check a solution and note its figures. Raise BenchError when it breaks a rule."""
    travel_s, flaws = check_day(problem, tours)
    if flaws:
        raise BenchError(f"{planner}: {'; '.join(flaws)}")
    values.add(f"{planner}: travel", travel_s / 3600)
    served = sum(map(len, tours))
    values.add(f"{planner}: served", served)
    values.add(f"{planner}: travel a job", travel_s / max(1, served))


def _add_figures(report: Report, values: RoundValues, has_vroom: bool) -> None:
    rounds = values.values
    for planner in (GREEDY, OURS, *([VROOM] if has_vroom else [])):
        note = PEERS[planner].omits if planner in PEERS else ""
        report.add(
            Figure(f"{planner}: travel", "h", rounds[f"{planner}: travel"], better="less", note=note),
            Figure(f"{planner}: jobs served", "", rounds[f"{planner}: served"]),
        )
    # Per job, because a planner that serves fewer jobs travels less.
    ours, greedy = rounds[f"{OURS}: travel a job"], rounds[f"{GREEDY}: travel a job"]
    report.add(
        ratio("travel a job, ruin and recreate ÷ greedy insertion", ours, greedy, goal=0.75, better="less"),
        Figure("ruin and recreate: rounds", "/s", rounds["tries"]),
    )
    if has_vroom:
        theirs = rounds[f"{VROOM}: travel a job"]
        report.add(ratio("travel a job, ruin and recreate ÷ VROOM", ours, theirs, better="less"))
