"""The journey of a technician to a job, from their stored path and the job's times."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from engine.rules.distances import distance_m
from engine.rules.paths import PathPoint
from engine.rules.travel import Place, area_of, hour_class_at
from engine.rules.travel_learning import Journey

ARRIVED_M = 60.0
"""At a point of the path within this distance (m) of the place, the technician counts as arrived (``Arrival.at_m`` of
most blueprints)."""
LEAST_S, MOST_S, LEAST_M, MOST_M_S = 30.0, 10_800.0, 200.0, 40.0
"""The limits of a plausible journey: the least and the most seconds, the least metres, the most metres a second."""


class ArrivedRide(NamedTuple):
    """A journey to a job, which has ended. Times are ms since the Unix epoch. ``points`` are the points of the path
    before the arrival, the departure included. ``promise`` is the promised time of arrival; None without a promise.
    """

    began: int
    arrived: int
    destination: Place
    points: tuple[PathPoint, ...]
    promise: int | None = None

    @property
    def is_plausible(self) -> bool:
        """Return whether travel times can be learnt from the journey."""
        length_m, seconds = self.length_m(self.points[0]), (self.arrived - self.began) / 1000
        return LEAST_S <= seconds <= MOST_S and length_m >= LEAST_M and length_m / seconds <= MOST_M_S

    def length_m(self, point: PathPoint) -> float:
        """Return the straight distance in metres from a point to the place of the job."""
        return distance_m(point.lat, point.lon, *self.destination)

    def left_s(self, point: PathPoint) -> float:
        """Return the seconds from a point to the arrival."""
        return (self.arrived - point.at) / 1000


def ride_of_path(
    path: Sequence[PathPoint],
    place: Place,
    arrived_at: int | None,
    next_state_at: int | None,
    promise: int | None = None,
) -> ArrivedRide | None:
    """Return the journey of a path, which begins at the departure. None if it has no end.

    The journey ends at ``arrived_at`` (ms), if fixes showed the arrival. Otherwise it ends at the first point of the
    path at the place, or at ``next_state_at`` (ms), when the job entered the state after the way, if that is earlier:
    the point may be late, because thinning removes points.
    """
    if not path:
        return None
    at_place = (point.at for point in path if distance_m(point.lat, point.lon, *place) <= ARRIVED_M)
    candidates = [at for at in (next(at_place, None), next_state_at) if at is not None]
    there = arrived_at or min(candidates, default=0)
    if there <= path[0].at:
        return None
    return ArrivedRide(path[0].at, there, place, tuple(point for point in path if point.at < there), promise)


def journey_of(ride: ArrivedRide, timezone: str) -> Journey:
    """Return the whole journey in the form from which travel times are learnt."""
    start = ride.points[0]
    return _journey_from(ride, start, timezone)._replace(origin=area_of(start.lat, start.lon))


def points_of(ride: ArrivedRide, timezone: str) -> list[Journey]:
    """Return the rest of the journey from each point on the way."""
    return [_journey_from(ride, point, timezone) for point in ride.points]


def _journey_from(ride: ArrivedRide, point: PathPoint, timezone: str) -> Journey:
    destination = area_of(*ride.destination)
    hour = hour_class_at(point.at, timezone)
    return Journey(ride.length_m(point) / 1000, ride.left_s(point), hour, "", destination)
