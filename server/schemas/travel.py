"""The published figures of predicted arrivals."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from server.schemas.objects import Shape

Share = Annotated[float | None, Meta(description="from 0 to 1; null without a sample")]


class KeptPromises(Shape):
    """The share of journeys that ended by the promised time, among those with a promise (``sample``)."""

    share: Share
    sample: int


class ErrorsByTimeLeft(Shape):
    """The errors of the predictions that were made with the time ``left`` until the arrival: the median in seconds, and
    the share of predictions that were wrong by at most two minutes.
    """

    left: Literal["under_5_min", "5_to_10_min", "over_10_min"]
    median_s: float | None
    within_2_min: Share
    sample: int


class ArrivalQuality(Shape):
    """How accurate the predicted arrivals of a zone were. ``sample`` journeys of the last ``days`` days are counted, up
    to ``as_of``. The present travel times were learnt from ``learned_from`` journeys; 0: the times of the cold start
    apply.
    """

    zone: str
    as_of: datetime | None
    days: int
    sample: int
    learned_from: int
    kept: KeptPromises
    errors: list[ErrorsByTimeLeft]
