"""Offers of a job to a technician."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from server.schemas.jobs import PublicJob
from server.schemas.objects import Shape


class Offer(Shape):
    job: PublicJob
    status: Literal["sent", "accepted", "rejected", "expired"]
    wave: int
    offered_at: datetime
    expires_at: datetime
    distance_m: float | None = None
