"""Ratings of one side of a job by the other."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from server.schemas import text
from server.schemas.decode import Body
from server.schemas.fields import NORMALISED_TEXT
from server.schemas.objects import Shape


class NewRating(Body):
    stars: Annotated[int, Meta(ge=1, le=5)]
    comment: (
        Annotated[
            str, Meta(max_length=2000, pattern=text.TEXT_PATTERN, description="text without NUL", extra=NORMALISED_TEXT)
        ]
        | None
    ) = None


class Rating(Shape):
    """A rating that one side of a job gives the other side. ``by`` and ``of`` are ids of users."""

    job: str
    by: str
    of: str
    stars: int
    comment: str | None
    at: datetime


class RatingReply(Shape):
    rating: Rating
