"""Waves: how the engine searched technicians for a job. For ops."""

from __future__ import annotations

from datetime import datetime

from server.schemas.objects import Shape


class Those(Shape):
    """The number of technicians, and the ids of some of them."""

    count: int
    technicians: list[str]


class Score(Shape):
    """The parts of a technician's score, with weights applied. The lowest sum is the best."""

    technician: str
    score: float
    distance: float
    rating: float
    acceptance: float
    waiting: float
    workload: float


class Wave(Shape, rename={"inside": "in"}):
    """One search for candidates: of the technicians visited, those included and, by reason, those left out.
    ``radius_m`` null is the whole zone. ``scores`` are of the best candidates, if the engine chooses.
    """

    wave: int
    at: datetime
    radius_m: float | None
    visited: int
    inside: Those
    out: dict[str, Those]
    scores: tuple[Score, ...] = ()
