"""Travel times: how long a technician needs to the place of their job, and therefore when they arrive.

``travel_model`` is the only place that chooses the model. The times of a zone are learnt from its finished jobs
(engine/rules/travel_learning.py, engine/workers/travel_learner.py); until there are enough of them, the times of
``COLD_START`` apply. All callers, also scripts, use only the numbers of ``TravelModel``.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from engine.rules.cells import cell_of
from engine.rules.travel_learning import FittedTimes, ZoneTimes, hour_class
from engine.types import Zone

AREA_RESOLUTION = 7
"""The resolution of the H3 cells that are the areas of the model: about 2.4 km wide."""
COLD_START_PACE, COLD_START_EXPONENT, COLD_START_LOW, COLD_START_HIGH = 150.0, 0.75, 0.6, 1.5
"""The times of a zone that has learnt nothing: 150 s · km^0.75, in four of five journeys at most 1.5 times that. They
are chosen near those of taxis in New York and San Francisco (docs/travel.md)."""
MIN_ETA_S = 10.0
"""The least remaining time of a technician who is not there yet: they never arrive in the past."""

Place = tuple[float, float]
"""Latitude and longitude in degrees."""


class TravelModel(msgspec.Struct, frozen=True):
    """The travel times of a zone at one time: a straight distance of ``km`` takes
    ``seconds_per_km`` × km ^ ``exponent`` seconds. ``low`` and ``high`` are the factors of the shortest and the longest
    likely time: for a whole journey, four of five take at most ``high`` times as long (P80). ``source`` is the name of
    the model in replies.
    """

    seconds_per_km: float
    exponent: float = COLD_START_EXPONENT
    low: float = COLD_START_LOW
    high: float = COLD_START_HIGH
    source: str = "learned"

    def travel_time_s(self, distance_m: float) -> float:
        """Return the likely travel time in seconds for a straight distance in metres."""
        return self.seconds_per_km * math.pow(distance_m / 1000, self.exponent)


COLD_START = TravelModel(COLD_START_PACE)


class ArrivalEstimate(msgspec.Struct, frozen=True):
    """When a technician arrives. ``eta_s`` is the likely remaining time in seconds, ``arrives_at`` the likely time in
    ms since the Unix epoch. They probably arrive between ``low`` and ``high``, which are such times too.
    """

    eta_s: int
    arrives_at: int
    low: int
    high: int
    source: str


_times_of_zone: dict[Zone, ZoneTimes] = {}


def use_times(times: Mapping[Zone, ZoneTimes]) -> None:
    """Replace the learnt times of all zones in this process."""
    _times_of_zone.clear()
    _times_of_zone.update(times)


def travel_model(
    zone: Zone, at: int, timezone: str, origin: Place | None = None, destination: Place | None = None
) -> TravelModel:
    """Return the model for journeys in a zone that begin at ``at`` (ms since the Unix epoch), in the hour of the zone's
    ``timezone`` (a name of the IANA database). With the places it is the model for the journey between their areas.
    """
    times = _times_of_zone.get(zone)
    learnt = times.journeys if times else None
    if learnt is None:
        return COLD_START
    if origin is None or destination is None:
        return model_of(learnt.plain, hour_class_at(at, timezone))
    return model_of(learnt.by_area, hour_class_at(at, timezone), area_of(*origin), area_of(*destination))


def remaining_model(zone: Zone, at: int, timezone: str, destination: Place | None = None) -> TravelModel:
    """Return the model for the rest of a journey whose technician is on the way at ``at``, to the area of
    ``destination`` if it is given.
    """
    return remaining_model_of(_times_of_zone.get(zone, ZoneTimes()), at, timezone, destination)


def remaining_model_of(times: ZoneTimes, at: int, timezone: str, destination: Place | None = None) -> TravelModel:
    """Return what ``remaining_model`` returns for a zone that has learnt ``times``."""
    learnt = times.remaining
    if learnt is None:
        return COLD_START
    fitted, area = (learnt.by_area, area_of(*destination)) if destination else (learnt.plain, "")
    return model_of(fitted, hour_class_at(at, timezone), "", area)


def model_of(fitted: FittedTimes, hour: int, origin: str = "", destination: str = "") -> TravelModel:
    """Return the model for a class of hours and two areas."""
    return TravelModel(fitted.pace(hour, origin, destination), fitted.exponent, fitted.low, fitted.high)


def hour_class_at(at: int, timezone: str) -> int:
    """Return the class of the hour of ``at`` (ms since the Unix epoch) in ``timezone``."""
    local = datetime.fromtimestamp(at / 1000, _load_timezone(timezone))
    return hour_class(local.hour, local.weekday())


def area_of(lat: float, lon: float) -> str:
    """Return the area of a place: the name of its H3 cell."""
    return f"{cell_of(lat, lon, AREA_RESOLUTION):x}"


@functools.cache
def _load_timezone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def estimate_arrival(
    model: TravelModel, distance_m: float, measured_at: int, now: int, *, arrived: bool
) -> ArrivalEstimate:
    """Return when a technician arrives who was ``distance_m`` metres from the place at ``measured_at``, as known at
    ``now`` (both in ms). If they have ``arrived``, they were there at ``measured_at``. Otherwise no time is less than
    ``MIN_ETA_S`` after ``now``.
    """
    if arrived:
        return ArrivalEstimate(0, measured_at, measured_at, measured_at, model.source)
    travel_s, earliest = model.travel_time_s(distance_m), now + round(MIN_ETA_S * 1000)
    low, likely, high = (
        max(earliest, measured_at + round(travel_s * factor * 1000)) for factor in (model.low, 1.0, model.high)
    )
    return ArrivalEstimate(round((likely - now) / 1000), likely, low, high, model.source)
