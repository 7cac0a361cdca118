"""Waves: how the engine searched technicians for a job. For ops."""

from __future__ import annotations

from datetime import datetime

from server.schemas.objects import Shape


class Those(Shape):
    """How many, and some of them by id."""

    count: int
    technicians: list[str]


class Score(Shape):
    """What made a technician's score, weights applied: the lowest sum is the best."""

    technician: str
    score: float
    distance: float
    rating: float
    acceptance: float
    waiting: float
    workload: float


class Wave(Shape, rename={"inside": "in"}):
    """One look for candidates: of those visited, who was in, and who was out by reason. ``radius_m`` null is the
    whole zone. ``scores`` of the best, where the engine chooses.
    """

    wave: int
    at: datetime
    radius_m: float | None
    visited: int
    inside: Those
    out: dict[str, Those]
    scores: tuple[Score, ...] = ()
