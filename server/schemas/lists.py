"""Lists: the query of every list, and the page that is the answer."""

from __future__ import annotations

from typing import Annotated, Generic, TypeVar

from msgspec import Meta

from server.schemas.decode import Body
from server.schemas.objects import Shape


class ListQuery(Body):
    limit: Annotated[int, Meta(ge=1, le=200)] = 50
    cursor: (
        Annotated[
            str,
            Meta(max_length=512, pattern=r"^[A-Za-z0-9_-]+$(?!\n)", description="`next` of the page before"),
        ]
        | None
    ) = None


T = TypeVar("T")


class CursorOut(Shape):
    """A cursor in an answer: a position in the log of one zone."""

    epoch: str
    seq: int


Cursors = dict[str, CursorOut]


class Items(Shape, Generic[T]):
    """A page of a list. ``next`` is the cursor of the next page."""

    items: list[T]
    next: str | None


class LiveItems(Shape, Generic[T]):
    """A page of a list of live objects. ``as_of`` is, for each zone, the position in the log up to which the list is
    current.
    """

    items: list[T]
    next: str | None
    as_of: Cursors
