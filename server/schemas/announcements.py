"""Announcements that ops send to users."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta

from engine.errors import FieldError
from engine.types import Role
from server.schemas.decode import Body
from server.schemas.fields import json_errors
from server.schemas.objects import Shape

MAX_ANNOUNCEMENT_BYTES = 8192


class NewAnnouncement(Body):
    """An announcement to send. ``event`` begins with ``announcement.``, or is an event that a blueprint declares as an
    announcement. Without ``roles`` the roles that the blueprint declares receive the announcement.
    """

    event: Annotated[
        str,
        Meta(
            max_length=64,
            pattern=r"^[a-z][a-z0-9_]*(\.[a-z0-9_]+)*$(?!\n)",
            description="the name of an event: lower case, digits, _ and dots",
        ),
    ]
    data: dict[str, Any]
    roles: Annotated[list[Role | Literal["ops", "managers"]], Meta(min_length=1, max_length=9)] | None = None

    def find_errors(self) -> list[FieldError]:
        return json_errors(self.data, "/data", MAX_ANNOUNCEMENT_BYTES)


class Announcement(Shape):
    event: str
    roles: list[str]
    data: dict[str, Any]
    zone: str
    seq: int


class AnnouncementReply(Shape):
    announcement: Announcement
