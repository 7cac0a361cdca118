"""The base of every message of a client on the socket."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from server.schemas.decode import Body

RequestId = int | Annotated[str, Meta(max_length=64)]
Key = Annotated[
    str,
    Meta(
        pattern=r"^[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}$(?!\n)",
        description="a UUID, with dashes",
    ),
]


class Message(Body, kw_only=True, tag_field="op"):
    """A message from a client. The server answers it if it has an ``id``. ``op`` is the Struct's tag."""

    id: RequestId | None = None
