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
    """The technician who would have cost least next, and that cost in seconds of travel."""

    technician: str
    cost: float


class Wave(Shape, rename={"inside": "in"}):
    """One search for candidates. ``visited`` technicians were examined: ``in`` are those included, ``out`` those left
    out, by reason. ``radius_m`` null is the whole zone. ``scores`` are those of the best candidates, if the engine
    chooses the technician.

    A record that has ``window`` is of a matching window that ended then: ``jobs`` waited and technicians were ``free``,
    ``cost`` is what the technician costs (seconds of travel), and ``why_not_nearest`` is why a nearer one was not
    taken; null if nobody was nearer.
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
