"""A checker of schedules. It reads the log alone, and shares no code with the scripts that check schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec

from engine.events import Event, ms_of
from engine.rules.travel import TravelModel

EARTH_RADIUS_KM = 6371.0
TOLERANCE = 0.995
"""The travel times of scripts are rounded, and their earth is a little larger."""


@dataclass
class Work:
    """A job that a technician holds, as of its last event. ``starts`` and ``ends`` are in ms. ``is_booked``: it has a
    time; any other job starts when the technician gets it.
    """

    job: str
    starts: int
    ends: int
    place: tuple[float, float]
    is_booked: bool
    forced: bool = False


@dataclass
class OverlapChecker:
    """Follows who holds which job, and collects the pairs of jobs without travel time and buffer between them."""

    model_at: Callable[[int], TravelModel]
    buffer_ms: int
    held: dict[str, dict[str, Work]] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    overlaps: list[str] = field(default_factory=list)
    compared: int = 0

    def follow(self, event: Event) -> None:
        """Take one event, in the order of the log."""
        data: dict[str, Any] = msgspec.json.decode(event.data)
        job = data.get("job")
        if not isinstance(job, dict) or not job.keys() >= {"customer", "technician", "scheduled_for", "phase"}:
            return
        name, before = job["id"], self.holders.get(job["id"], "")
        holder = job["technician"]["id"] if job["technician"] and job["phase"] in ("assigned", "active") else ""
        known = self.held.get(before, {}).pop(name, None)
        self.holders[name] = holder
        if not holder:
            return
        is_new = known is None or before != holder
        work = self._work_of(job, event.at, None if is_new else known)
        work.forced = data.get("forced") is True or (not is_new and known is not None and known.forced)
        others = self.held.setdefault(holder, {})
        if is_new or known is None or (known.starts, known.ends, known.place) != (work.starts, work.ends, work.place):
            for other in others.values():
                self._compare(event, work, other)
        others[name] = work

    def _work_of(self, job: dict[str, Any], at: int, known: Work | None) -> Work:
        length, place = job["duration_min"] * 60_000, (job["lat"], job["lon"])
        if job["scheduled_for"]:
            starts = ms_of(job["scheduled_for"])
            return Work(job["id"], starts, starts + length, place, True)
        starts = known.starts if known and not known.is_booked else at
        return Work(job["id"], starts, starts + length, place, False)

    def _compare(self, event: Event, one: Work, other: Work) -> None:
        if one.forced or other.forced or not (one.is_booked or other.is_booked):
            return
        first, second = sorted((one, other), key=lambda work: work.starts)
        if not second.is_booked:  # work without a time that was given after a booked job had begun
            return
        self.compared += 1
        model = self.model_at(first.ends)
        travel_ms = model.travel_time_s(1000 * _distance_km(first.place, second.place)) * model.high * 1000
        gap = second.starts - first.ends
        if gap < self.buffer_ms + travel_ms * TOLERANCE:
            self.overlaps.append(f"seq {event.seq}: {first} and {second}: {gap} ms, of which {travel_ms:.0f} travel")


def _distance_km(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the distance by the spherical law of cosines."""
    lat1, lat2 = math.radians(one[0]), math.radians(other[0])
    cosine = math.sin(lat1) * math.sin(lat2)
    cosine += math.cos(lat1) * math.cos(lat2) * math.cos(math.radians(other[1] - one[1]))
    return EARTH_RADIUS_KM * math.acos(min(1.0, cosine))
