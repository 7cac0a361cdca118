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


class Wave(Shape, rename={"inside": "in"}):
    """One search for candidates. ``visited`` technicians were examined: ``in`` are those included, ``out`` those left
    out, by reason. ``radius_m`` null is the whole zone. ``scores`` are those of the best candidates, if the engine
    chooses the technician.
    """

    wave: int
    at: datetime
    radius_m: float | None
    visited: int
    inside: TechnicianGroup
    out: dict[str, TechnicianGroup]
    scores: tuple[Score, ...] = ()
