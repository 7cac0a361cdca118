"""What the two sides of a job learn of each other beside the job itself, in the manner of server/schemas/objects.py."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from server.schemas.objects import Shape


class Rating(Shape):
    """What one side of a job thinks of the other; ``by`` and ``of`` are users."""

    job: str
    by: str
    of: str
    stars: int
    comment: str | None
    at: datetime


class RatingReply(Shape):
    rating: Rating


class Position(Shape):
    """Where the technician of a job was at ``at``, ``age_s`` ago; ``stale`` where that is long."""

    job: str
    lat: float
    lon: float
    at: datetime
    age_s: float
    stale: bool
    heading: Annotated[float | None, Meta(description="degrees from north")] = None
    accuracy: Annotated[float | None, Meta(description="metres: the radius of the circle it is in")] = None
    jump: Annotated[
        bool | None,
        Meta(description="true where nobody comes there so fast"),
    ] = None


class Track(Shape):
    """``position`` is null where nobody holds the job, or where he is is not known."""

    position: Position | None


class Block(Shape):
    """Whom the caller does not want to meet at work, and since when."""

    id: str
    name: str
    since: datetime


class BlockReply(Shape):
    block: Block
