"""Travel times: how long a technician needs to the place of their job, and so when they arrive.

``travel_model`` is the only place that chooses the model. Its present model knows no streets: a technician drives
``DETOUR`` times the straight distance, at the usual speed of the hour. A model that is learnt from finished jobs will
be returned there; all callers, also the script that takes fixes, use only the numbers of ``TravelModel``.
"""

from __future__ import annotations

import functools
import math
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec

from engine.types import Zone

DETOUR = 1.3
"""How much longer the way by road is than the straight distance. Assumed: published values for cities are between 1.2
and 1.5."""
SPEED_KM_H = (25.0, 26.0, 28.0, 30.0, 34.0, 38.0, 31.0, 22.0, *(18.5,) * 11, 19.5, 21.0, 22.0, 23.0, 24.0)
"""The usual speed by road for each hour of the day, from 0. The source is the speeds of New York's taxis in 2013, as
published by Ben Wellington (I Quant NY, 2014): 11.5 mph from 8 to 19 h, 24 mph after 5 h. The other hours are assumed,
between these values."""
LOW_FACTOR, HIGH_FACTOR = 0.6, 1.5
"""The shortest and the longest likely travel time, as factors. Assumed: in four of five rides the time is between."""
MIN_ETA_S = 10.0
"""The least remaining time of a technician who is not there yet: they never arrive in the past."""


class TravelModel(msgspec.Struct, frozen=True):
    """The travel times of a zone at one time: a straight distance of ``km`` takes
    ``seconds_per_km`` × km ^ ``exponent`` seconds. ``low`` and ``high`` are the factors of the shortest and the longest
    likely time. ``source`` is the name of the model in replies.
    """

    seconds_per_km: float
    exponent: float = 1.0
    low: float = LOW_FACTOR
    high: float = HIGH_FACTOR
    source: str = "speed"

    def travel_time_s(self, distance_m: float) -> float:
        """Return the likely travel time in seconds for a straight distance in metres."""
        return self.seconds_per_km * math.pow(distance_m / 1000, self.exponent)


class ArrivalEstimate(msgspec.Struct, frozen=True):
    """When a technician arrives. ``eta_s`` is the likely remaining time in seconds, ``arrives_at`` the likely time in
    ms since the Unix epoch. They probably arrive between ``low`` and ``high``, which are such times too.
    """

    eta_s: int
    arrives_at: int
    low: int
    high: int
    source: str


def travel_model(zone: Zone, at: int, timezone: str) -> TravelModel:
    """Return the model for journeys in a zone that begin at ``at`` (ms since the Unix epoch). The speed is that of the
    hour in the zone's ``timezone`` (a name of the IANA database). All zones have the same speeds.
    """
    hour = datetime.fromtimestamp(at / 1000, _load_timezone(timezone)).hour
    return TravelModel(DETOUR * 3600 / SPEED_KM_H[hour])


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
