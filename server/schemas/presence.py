"""Whether users are online."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from msgspec import Meta

from server.schemas.decode import Body
from server.schemas.objects import Shape

UserIds = Annotated[
    str,
    Meta(
        max_length=6_500,
        pattern=r"^{0}(,{0}){0,99}$(?!\n)".replace("{0}", r"[A-Za-z0-9_-]{1,64}", 2),
        description="ids of at most 100 users, by commas",
    ),
]


class PresenceQuery(Body):
    """The users whose presence is asked for."""

    users: UserIds


class Presence(Shape):
    """A user is ``online`` if any of their devices gave a sign of life (a frame, a pong, a request) within the lease of
    90 s. ``last_seen`` is the last sign; null if the server does not know it any more.
    """

    user: str
    online: bool
    last_seen: datetime | None


class Presences(Shape):
    """The users whose presence the caller may know: those who share a live job or an open room with the caller. Ops see
    all users.
    """

    items: list[Presence]
