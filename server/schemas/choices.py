"""Why the engine asks a technician or not: previews of bookings, and the reasons for one technician."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import Meta

from server.schemas.decode import Body
from server.schemas.fields import Id
from server.schemas.objects import Shape
from server.schemas.waves import NextBest, Score


class PreviewGroup(Shape):
    """A group of technicians: their number and, for ops, the ids of some of them."""

    count: int
    technicians: list[str] | None = None


class Preview(Shape, rename={"inside": "in"}):
    """The technicians whom a booking would ask first if its search began now: ``in`` in order, and those left out
    (``out``) by reason. ``state`` is the state that searches. ``starts_at`` is when the search of a scheduled job
    really begins. ``visited`` technicians were examined. ``more`` is true if the search would continue. ``scores`` are
    those of ``in`` or, if the engine chooses, of the best candidates. ``window`` and the members after it are as in the
    record of a wave (Wave).
    """

    blueprint: str
    state: str
    mode: Literal["broadcast", "bids", "direct", "allocate", "none"]
    starts_at: datetime | None
    at: datetime | None
    radius_m: float | None
    visited: int
    inside: PreviewGroup
    out: dict[str, PreviewGroup]
    more: bool
    scores: tuple[Score, ...] = ()
    window: datetime | None = None
    jobs: int | None = None
    free: int | None = None
    cost: float | None = None
    next_best: NextBest | None = None
    why_not_nearest: str | None = None


class PreviewReply(Shape):
    preview: Preview


class WhyQuery(Body):
    job: Id | None = None


class JobChoice(Shape):
    """What the waves of a job decided about a technician: the wave ``wave`` at the time ``at`` asked them, or left them
    out for ``reason``. The technician sees `not_chosen` in place of every reason that also concerns other people.
    """

    id: str
    asked: bool
    wave: int | None = None
    at: datetime | None = None
    offer: Annotated[str | None, Meta(description="the status of their offer")] = None
    reason: str | None = None


class OfferCounts(Shape):
    """The outcomes of a technician's archived offers since a time."""

    since: datetime
    count: int
    outcomes: dict[str, int]


class Why(Shape):
    """Whether a technician receives offers now, and ``blockers``, the reasons if not."""

    online: bool
    receiving: bool
    blockers: list[str]
    offers: OfferCounts
    job: JobChoice | None = None


class WhyReply(Shape):
    why: Why
