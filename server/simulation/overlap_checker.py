"""A checker of schedules: it finds technicians who got two jobs that overlap. It reads only events, and shares no code
with the scripts that check schedules.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from engine.events import ms_of

EARTH_RADIUS_M = 6_371_000.0
MIN_TRAVEL_SHARE = 0.995
"""The part of the travel time that must lie between two visits: the scripts round travel times, and their earth is a
little larger.
"""
MEMBERS_OF_A_WHOLE_JOB = {"customer", "technician", "scheduled_for", "phase", "duration_min"}


class Change(NamedTuple):
    """An event: its time (ms), its ``seq``, and its data."""

    at: int
    seq: int
    data: dict[str, Any]


@dataclass
class Work:
    """A job that a technician holds, in its state after its last event. ``starts`` and ``ends`` are in ms.
    ``is_booked`` is true if the job has a time; any other job starts when the technician gets it.
    """

    job: str
    starts: int
    ends: int
    place: tuple[float, float]
    is_booked: bool
    forced: bool = False

    def has_other_time(self, other: Work) -> bool:
        """Return whether the time or the place differs."""
        return (self.starts, self.ends, self.place) != (other.starts, other.ends, other.place)


@dataclass
class OverlapChecker:
    """Follows who holds which job, and collects the pairs of jobs without travel time and buffer between them.

    ``travel_s(at, metres)`` is the least time for a journey that begins at ``at`` (ms). ``shared`` are the blueprints
    whose jobs may be done together with others (`exclusive = false`), ``freed`` the states in which the work is over
    and the technician may take another job (`frees = true`).
    """

    travel_s: Callable[[int, float], float]
    buffer_ms: int
    shared: frozenset[str] = frozenset()
    freed: frozenset[str] = frozenset()
    held: dict[str, dict[str, Work]] = field(default_factory=dict)
    holders: dict[str, str] = field(default_factory=dict)
    overlaps: list[str] = field(default_factory=list)
    compared: int = 0

    def follow(self, step: Sequence[Change]) -> None:
        """Take the events of one step, in the order of the log. A step may move several jobs in a cycle. Therefore the
        jobs that technicians give up are removed before the jobs that they get are added.
        """
        whole = ((change, _whole_job(change.data)) for change in step)
        changes = [(change, job) for change, job in whole if job and job.get("blueprint") not in self.shared]
        gone = {}
        for _, job in changes:
            before = self.holders.get(job["id"], "")
            if work := self.held.get(before, {}).pop(job["id"], None):
                gone[job["id"]] = work
        for change, job in changes:
            self._take(change, job, gone.pop(job["id"], None))

    def forget(self) -> None:
        """Forget who holds which job, because events are missing."""
        self.held.clear()
        self.holders.clear()

    def _take(self, change: Change, job: dict[str, Any], known: Work | None) -> None:
        name, before = job["id"], self.holders.pop(job["id"], "")
        known = known or self.held.get(before, {}).pop(name, None)
        if not (job["technician"] and job["phase"] in ("assigned", "active")) or job.get("status") in self.freed:
            return
        self.holders[name] = holder = job["technician"]["id"]
        if before != holder:
            known = None
        work = _work_of(job, change.at, known)
        work.forced = change.data.get("forced") is True or (known is not None and known.forced)
        others = self.held.setdefault(holder, {})
        if known is None or work.has_other_time(known):
            for other in others.values():
                self._compare(change.seq, work, other)
        others[name] = work

    def _compare(self, seq: int, one: Work, other: Work) -> None:
        if one.forced or other.forced or not (one.is_booked or other.is_booked):
            return
        first, second = sorted((one, other), key=lambda work: work.starts)
        if not second.is_booked:  # a job without a time that was assigned after a booked job had begun
            return
        self.compared += 1
        travel_ms = 1000 * self.travel_s(first.ends, _distance_m(first.place, second.place))
        gap = second.starts - first.ends
        if gap < self.buffer_ms + travel_ms * MIN_TRAVEL_SHARE:
            self.overlaps.append(f"seq {seq}: {first} and {second}: {gap} ms, of which {travel_ms:.0f} travel")


def _whole_job(data: dict[str, Any]) -> dict[str, Any] | None:
    """Return the job of an event, if the event has all of it."""
    job = data.get("job")
    return job if isinstance(job, dict) and job.keys() >= MEMBERS_OF_A_WHOLE_JOB else None


def _work_of(job: dict[str, Any], at: int, known: Work | None) -> Work:
    length, place = job["duration_min"] * 60_000, (job["lat"], job["lon"])
    if job["scheduled_for"]:
        starts = ms_of(job["scheduled_for"])
        return Work(job["id"], starts, starts + length, place, True)
    starts = known.starts if known and not known.is_booked else at
    return Work(job["id"], starts, starts + length, place, False)


def _distance_m(one: tuple[float, float], other: tuple[float, float]) -> float:
    """Return the distance by the spherical law of cosines."""
    lat1, lat2 = math.radians(one[0]), math.radians(other[0])
    cosine = math.sin(lat1) * math.sin(lat2)
    cosine += math.cos(lat1) * math.cos(lat2) * math.cos(math.radians(other[1] - one[1]))
    return EARTH_RADIUS_M * math.acos(min(1.0, cosine))
