"""The base of all objects in answers, and the objects that many answers contain.

The engine makes most answers as JSON, and the server embeds this JSON without decoding it, so these types encode
nothing. They document the answers in OpenAPI (PROTOCOL §2). The tests decode every answer of a route as the type in the
table of routes, and refuse unknown fields.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from msgspec import Struct

from engine.types import Role


class Shape(Struct, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """An object in an answer. Clients ignore unknown members; our own tests refuse them."""


class Ref(Shape):
    """A job, technician or other object that is named only by its id."""

    id: str


class Person(Shape):
    id: str
    name: str = ""
    phone: str | None = None
    rating: float | None = None


class Actor(Shape):
    """The user who caused a change; the role is ``engine`` if no user caused it."""

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
