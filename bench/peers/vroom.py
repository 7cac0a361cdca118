"""VROOM, another planner of technicians' days, called through the package ``pyvroom`` (the extra ``routing``)."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from bench.rig import PeerUnavailable
from engine.rules.routing import DayProblem

EXPLORATION = 5
"""VROOM's exploration level: 5 is its highest search effort."""


def load_vroom() -> Any:
    """Return the module. Raise PeerUnavailable when it is not installed or does not run on this machine."""
    try:
        import numpy
        import vroom
    except ImportError as error:
        raise PeerUnavailable(f"pyvroom is not installed ({error})") from error
    return vroom, numpy


def read_version() -> str:
    """Return the version of pyvroom. Raise PeerUnavailable when it is not installed."""
    try:
        return version("pyvroom")
    except PackageNotFoundError as error:
        raise PeerUnavailable("pyvroom is not installed") from error


def solve(problem: DayProblem) -> list[list[int]]:
    """Return the tours that VROOM finds for this day with one thread."""
    vroom, numpy = load_vroom()
    skills = {name: number for number, name in enumerate(sorted({visit.skill for visit in problem.visits}))}
    known = range(problem.nowhere)
    matrix = numpy.array([[problem.travel[a][b] for b in known] for a in known], dtype=numpy.uint32)
    instance = vroom.Input()
    instance.set_durations_matrix(profile="car", matrix_input=matrix)
    for number, shift in enumerate(problem.shifts):
        has = {skills[name] for name in shift.skills if name in skills}
        times = vroom.TimeWindow(shift.start_s, shift.end_s)
        instance.add_vehicle(
            vroom.Vehicle(number, start=shift.start_place, end=shift.end_place, skills=has, time_window=times)
        )
    for number, visit in enumerate(problem.visits):
        window = [vroom.TimeWindow(visit.earliest_s, visit.latest_s)]
        needs = {skills[visit.skill]}
        instance.add_job(
            vroom.Job(number, location=visit.place, default_service=visit.duration_s, skills=needs, time_windows=window)
        )
    solution = instance.solve(exploration_level=EXPLORATION, nb_threads=1)
    tours: list[list[int]] = [[] for _ in problem.shifts]
    for row in solution.routes.itertuples():
        if row.type == "job":
            tours[int(row.vehicle_id)].append(int(row.id))
    return tours
