"""Compute the slots from which a customer can choose, from schedules and working hours (pure functions).

Slots must not reveal where a technician works. Therefore the time between a visit and a slot is not computed from the
two places, but from the *squares* of ``SQUARE_DEGREES`` that contain them: it is the travel time over the longest
distance between the squares, or over ``LEAST_DISTANCE_M`` if that is longer. It is never less than the time that
lua/lib/schedule.lua requires, so that each slot that is shown can be booked.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from engine.rules.distances import METRES_PER_DEGREE, distance_m

GRID_MS = 1_800_000
"""Slots begin at multiples of this time."""
MAX_SPAN_MS = 14 * 86_400_000
"""The longest range of times for which slots are computed at once."""
LEAST_DISTANCE_M = 16_000.0
"""The shortest distance for which travel time is kept free before and after a slot, in metres."""
SQUARE_DEGREES = 0.05
"""The height and width of a square, about 5 km. Two places in the same square give the same slots."""
_WIDEST_DIAGONAL_M = SQUARE_DEGREES * METRES_PER_DEGREE * math.sqrt(2)


class Visit(NamedTuple):
    """A visit in a technician's schedule: its times in ms since the Unix epoch, and its place in degrees."""

    start: int
    end: int
    lat: float
    lon: float


class Availability(NamedTuple):
    """When a technician can work. ``free_from`` is the first time (ms) at which they could begin more work. ``is_open``
    returns whether the time between two moments (ms) is within their working hours.
    """

    free_from: int
    visits: Sequence[Visit]
    is_open: Callable[[int, int], bool]


class WantedWork(NamedTuple):
    """The work that a customer wants: its place (degrees) and its duration ``duration_ms``. ``gap_ms`` returns the time
    (ms) that must lie between two visits for a distance in metres: travel time and buffer.
    """

    lat: float
    lon: float
    duration_ms: int
    gap_ms: Callable[[float], int]


class Slot(NamedTuple):
    """A start and an end in ms since the Unix epoch, and how many technicians are free for it."""

    start: int
    end: int
    free: int


def find_slots(wanted: WantedWork, first: int, last: int, now: int, technicians: Iterable[Availability]) -> list[Slot]:
    """Return the slots that begin from ``first`` to ``last`` (ms) and for which somebody is free, in order. No slot
    begins before a technician who leaves at ``now`` could arrive from ``LEAST_DISTANCE_M`` away.
    """
    first = max(first, now + wanted.gap_ms(LEAST_DISTANCE_M))
    begins = range(-(-first // GRID_MS) * GRID_MS, last + 1, GRID_MS)
    free = dict.fromkeys(begins, 0)
    for technician in technicians:
        blocked = [_blocked_begins(wanted, visit, now) for visit in technician.visits]
        for begin in begins:
            if (
                begin >= technician.free_from
                and not any(early < begin < late for early, late in blocked)
                and technician.is_open(begin, begin + wanted.duration_ms)
            ):
                free[begin] += 1
    return [Slot(begin, begin + wanted.duration_ms, count) for begin, count in free.items() if count]


def _blocked_begins(wanted: WantedWork, visit: Visit, now: int) -> tuple[int, int]:
    """Return the times between which no work for ``wanted`` can begin because of a visit. An overdue visit counts as if
    it ended now.
    """
    gap_ms = wanted.gap_ms(area_distance_m(wanted.lat, wanted.lon, visit.lat, visit.lon))
    return visit.start - wanted.duration_ms - gap_ms, max(visit.end, now) + gap_ms


def area_distance_m(lat1: float, lon1: float, lat2: float, lon2: float) -> float:
    """Return a distance in metres that depends only on the squares of two places and is at least their distance."""
    centres = distance_m(_centre(lat1), _centre(lon1), _centre(lat2), _centre(lon2))
    return max(LEAST_DISTANCE_M, centres + _WIDEST_DIAGONAL_M)


def _centre(degrees: float) -> float:
    """Return the middle of the row or the column of squares in which the coordinate lies."""
    return (math.floor(degrees / SQUARE_DEGREES) + 0.5) * SQUARE_DEGREES
