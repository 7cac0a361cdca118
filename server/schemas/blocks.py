"""Blocks: users whom the caller does not want to meet at work."""

from __future__ import annotations

from datetime import datetime

from server.schemas.decode import Body
from server.schemas.fields import Id
from server.schemas.objects import Shape


class OneUser(Body):
    """The user to block or to unblock."""

    user: Id


class Block(Shape):
    """A user whom the caller does not want to meet at work. ``since`` is the time of the block."""

    id: str
    name: str
    since: datetime


class BlockReply(Shape):
    block: Block
