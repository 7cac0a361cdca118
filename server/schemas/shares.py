"""Links to a job, and what they show."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from engine.domain.shares import MAX_S, MIN_S
from engine.types import Phase
from server.schemas.decode import Body
from server.schemas.objects import Ref, Shape


class NewShare(Body):
    """How long the link is valid, in seconds; the default is a day. The link always ends with the job."""

    ttl_s: Annotated[int, Meta(ge=MIN_S, le=MAX_S)] | None = None


class Share(Shape):
    """A link to a job. Whoever opens ``url`` follows the job without an account until ``expires_at``."""

    id: str
    url: Annotated[str, Meta(description="a path on this server")]
    expires_at: datetime


class ShareReply(Shape):
    share: Share


class SharedPosition(Shape):
    """The position of the technician while they are on the way, ``age_s`` seconds ago."""

    lat: float
    lon: float
    at: datetime
    age_s: float
    stale: bool
    heading: Annotated[float | None, Meta(description="degrees from north")] = None
    accuracy: Annotated[float | None, Meta(description="metres: the radius of the circle that contains it")] = None
    jump: Annotated[bool | None, Meta(description="true if nobody can get there so fast")] = None


class SharedJob(Shape, kw_only=True):
    """A job as its link shows it: no id, name, address or destination. ``says`` is the sentence of its state;
    ``eta_s`` are the seconds until the technician is expected.
    """

    phase: Phase
    says: str
    position: SharedPosition | None = None
    eta_s: int | None = None
    as_of: datetime


class EventShare(Shape):
    """A link in an event. Its address is in replies alone."""

    id: str
    expires_at: datetime | None = None


class ShareEventData(Shape):
    """A link to a job was opened or ended."""

    share: EventShare
    job: Ref
