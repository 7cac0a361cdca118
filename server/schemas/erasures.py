"""Requests to erase or export all data about a person, and the answers."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta

from server.schemas.decode import Body
from server.schemas.fields import MediumText
from server.schemas.objects import Shape

CurrentPassword = Annotated[
    str, Meta(max_length=256, description="the caller's password, if this is the caller's own account")
]


class NewErasure(Body):
    reason: MediumText
    password: CurrentPassword | None = None


class NewExport(Body):
    password: CurrentPassword | None = None


class Erasure(Shape):
    """The erasure of a person's data. ``blockers`` are the reasons why it waits, apart from the waiting time. ``zones``
    are the zones whose events are erased.
    """

    id: str
    state: Literal["waiting", "running", "done"]
    blockers: list[Literal["job", "dispute", "zone"]]
    zones: list[str]


class ErasureReply(Shape):
    erasure: Erasure
