"""Waves: the searches of the engine for technicians for a job. For ops."""

from __future__ import annotations

from datetime import datetime

from server.schemas.objects import Shape


class TechnicianGroup(Shape):
    """A group of technicians: their number, and the ids of some of them."""

    count: int
    technicians: list[str]


class Score(Shape):
    """A technician's score and its weighted parts. The technician with the lowest score is the best."""

    technician: str
    score: float
    distance: float
    rating: float
    acceptance: float
    waiting: float
    workload: float


class NextBest(Shape):
    """The technician with the next lowest cost, and this cost in seconds of travel."""

    technician: str
    cost: float


class Wave(Shape, rename={"inside": "in"}):
    """One search for candidates. ``visited`` technicians were examined: ``in`` are those included, ``out`` those left
    out, by reason. ``radius_m`` null is the whole zone. ``scores`` are those of the best candidates, if the engine
    chooses the technician.

    A record with ``window`` is of a matching window at that time. ``jobs`` is how many jobs waited, ``free`` how many
    technicians were free, ``cost`` what the chosen technician costs (seconds of travel), and ``why_not_nearest`` why a
    nearer one was not chosen; null if nobody was nearer.
    """

    wave: int
    at: datetime
    radius_m: float | None
    visited: int
    inside: TechnicianGroup
    out: dict[str, TechnicianGroup]
    scores: tuple[Score, ...] = ()
    window: datetime | None = None
    jobs: int | None = None
    free: int | None = None
    cost: float | None = None
    next_best: NextBest | None = None
    why_not_nearest: str | None = None
