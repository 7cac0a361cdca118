"""The snapshot from which a client starts."""

from __future__ import annotations

from engine.rules.fixes import FixRate
from server.schemas.about import Poll
from server.schemas.jobs import Job
from server.schemas.lists import Cursors
from server.schemas.notifications import Notification
from server.schemas.objects import Shape
from server.schemas.offers import Offer
from server.schemas.rooms import Room
from server.schemas.technicians import Technician
from server.schemas.users import User


class OwnProfile(Shape):
    """The caller's account and, for a technician, their profile."""

    user: User
    technician: Technician | None = None


class Sync(Shape):
    """A snapshot from which a client starts. ``cursor`` was read before the rest, so no event after ``cursor`` is
    missing, but some may repeat parts of the snapshot. ``next`` is the cursor for further jobs: ``GET
    /v1/jobs?cursor=``. ``rooms`` are the open ones and those that were closed lately.
    """

    me: OwnProfile
    jobs: list[Job]
    next: str | None
    offers: list[Offer]
    rooms: list[Room]
    notifications: list[Notification]
    cursor: Cursors
    poll: Poll
    fix: FixRate
