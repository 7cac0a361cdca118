"""A drive along streets: where a driver is at a time, how fast, and in which direction."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import NamedTuple

METRES_PER_DEGREE = 111_320.0
Position = tuple[float, float]
"""Latitude and longitude in degrees."""


class Waypoint(NamedTuple):
    """A position on the way, and the speed in metres a second at which it is reached. ``crossing`` is None between
    crossings.
    """

    at: Position
    crossing: tuple[int, int] | None
    speed: float


class Motion(NamedTuple):
    """Where a driver is: speed in metres a second, heading in degrees from north."""

    lat: float
    lon: float
    speed: float
    heading: float


class Drive:
    """A drive that began at ``began_s`` (seconds of any clock) and leads straight from each waypoint to the next."""

    def __init__(self, way: Sequence[Waypoint], began_s: float) -> None:
        self.way = way
        legs_s = (distance_m(start.at, end.at) / end.speed for start, end in pairwise(way))
        self._reached_s = list(accumulate(legs_s, initial=began_s))

    @property
    def ends_s(self) -> float:
        """Return the time of the arrival, on the clock of ``began_s``."""
        return self._reached_s[-1]

    def timed_points(self) -> list[tuple[Position, float]]:
        """Return each waypoint with the time at which it is reached."""
        return [(point.at, at_s) for point, at_s in zip(self.way, self._reached_s, strict=True)]

    def motion_at(self, now_s: float) -> Motion:
        """Return where the driver is. Before the start and after the arrival the speed is 0."""
        leg = self._leg_at(now_s)
        start, end = self.way[leg], self.way[leg + 1]
        began, reached = self._reached_s[leg], self._reached_s[leg + 1]
        part = max(0.0, min(1.0, (now_s - began) / (reached - began))) if reached > began else 1.0
        lat, lon = (a + part * (b - a) for a, b in zip(start.at, end.at, strict=True))
        east = (end.at[1] - start.at[1]) * math.cos(math.radians(lat))
        heading = math.degrees(math.atan2(east, end.at[0] - start.at[0])) % 360
        return Motion(round(lat, 6), round(lon, 6), end.speed if 0 < part < 1 else 0.0, heading)

    def next_crossing(self, now_s: float) -> tuple[int, int]:
        """Return the crossing that the driver reaches next; at the end of the drive, the last crossing."""
        leg = self._leg_at(now_s)
        ahead = [point.crossing for point in self.way[leg + 1 :] if point.crossing]
        return ahead[0] if ahead else [point.crossing for point in self.way if point.crossing][-1]

    def _leg_at(self, now_s: float) -> int:
        return max(0, min(bisect_right(self._reached_s, now_s) - 1, len(self.way) - 2))


def distance_m(start: Position, end: Position) -> float:
    """Return the distance in metres of two positions that are a few kilometres apart."""
    east = (end[1] - start[1]) * math.cos(math.radians(start[0]))
    return METRES_PER_DEGREE * math.hypot(end[0] - start[0], east)


def round_position(lat: float, lon: float) -> Position:
    """Return the position with the accuracy of 0.1 m."""
    return round(lat, 6), round(lon, 6)
