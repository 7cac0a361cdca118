"""The linter of what a blueprint declares about the technician's position: when it is shared, and the arrival."""

from __future__ import annotations

from collections.abc import Iterator
from math import inf

from engine.blueprint.schema import Blueprint

MAX_ARRIVAL_FIXES = 10
"""The most fixes in a row that an arrival may need: more would take minutes."""


def tracking_problems(blueprint: Blueprint) -> Iterator[str]:
    """Yield the problems of ``track_from``, ``track_lead_s`` and ``arrival``, one sentence each."""
    if blueprint.track_from and blueprint.track_from not in blueprint.states:
        yield f"track_from: unknown state {blueprint.track_from!r}"
        return
    if blueprint.track_from and not blueprint.is_tracked(blueprint.track_from):
        yield f"track_from: the work is over in {blueprint.track_from!r}, so the technician's position is not shared"
    if not 0 <= blueprint.track_lead_s < inf:
        yield "track_lead_s must be a number of seconds, not below 0"
    yield from (f"arrival: {problem}" for problem in _arrival_problems(blueprint))


def _arrival_problems(blueprint: Blueprint) -> Iterator[str]:
    arrival = blueprint.arrival
    if not 0 < arrival.at_m <= arrival.near_m:
        yield "at_m must be above 0, and near_m not below it"
    if arrival.leave_m <= arrival.at_m:
        yield "leave_m must be above at_m, so that an inexact fix at the place is no departure"
    if not 1 <= arrival.fixes <= MAX_ARRIVAL_FIXES:
        yield f"fixes must be from 1 to {MAX_ARRIVAL_FIXES}"
    for state in arrival.states:
        if state not in blueprint.states:
            yield f"states: unknown state {state!r}"
        elif not blueprint.is_tracked(state):
            yield f"states: in {state!r} the technician's position is not shared"
