"""The outcome of an earlier request, by its request key."""

from __future__ import annotations

from typing import Literal

from server.schemas.objects import Shape


class Verdict(Shape):
    """The outcome of a request: done, or refused with ``code``."""

    key: str
    status: Literal["done", "refused"]
    code: str | None = None
    seq: int | None = None
    job: str | None = None
