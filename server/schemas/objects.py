"""The base of all objects of answers, and the objects that stand inside many others.

The engine makes most answers as JSON, and the server embeds them unread, so these types encode nothing. They document
the answers in OpenAPI (PROTOCOL §2). The tests decode every answer of a route as the type that the table of routes
names for it, and refuse unknown fields.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

from engine.types import Role


class Shape(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An object of an answer. Clients ignore unknown members; our own tests refuse them."""


class Person(Shape):
    id: str
    name: str = ""
    phone: str | None = None
    rating: float | None = None


class Actor(Shape):
    """The user who did it; ``engine`` if no user did."""

    id: str
    role: Role | Literal["engine"]


class Proposal(Shape):
    """A price other than the agreed one. The other side accepts or rejects it."""

    id: str
    amount: int
    by: Actor
    reason: str | None = None
    status: Literal["open", "accepted", "rejected"] | None = None
    created_at: datetime | None = None
