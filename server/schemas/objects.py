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
    """An object of an answer. Clients ignore members that they do not know; our own tests do not."""


class Person(Shape):
    id: str
    name: str = ""
    phone: str | None = None
    rating: float | None = None


class Actor(Shape):
    """Who did it; ``engine`` where nobody did."""

    id: str
    role: Role | Literal["engine"]


class Proposal(Shape):
    """Another price than was agreed, which the other side accepts or rejects."""

    id: str
    amount: int
    by: Actor
    reason: str | None = None
    status: Literal["open", "accepted", "rejected"] | None = None
    created_at: datetime | None = None
