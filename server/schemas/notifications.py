"""Notifications in a user's inbox."""

from __future__ import annotations

from datetime import datetime

from server.schemas.objects import Shape


class Notification(Shape):
    id: str
    kind: str
    title: str
    body: str
    job: str | None
    room: str | None
    at: datetime
    read: bool
