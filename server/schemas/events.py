"""Events over HTTP: the query of ``GET /v1/events``, and the answers of a poll and of a stream."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from server.schemas.decode import Body
from server.schemas.fields import Token
from server.schemas.objects import Shape

CursorText = Annotated[
    str,
    Meta(
        max_length=4096,
        pattern=r"^({0}(,{0})*)?$(?!\n)".replace("{0}", r"[a-z0-9-]{1,32}:[A-Za-z0-9_-]{1,64}:[0-9]{1,15}"),
        description="a cursor of each zone once: main:e1:131,north:e2:9",
    ),
]
Names = Annotated[
    str,
    Meta(
        max_length=8192,
        pattern=r"^[a-z][^,\s\x00]{0,119}(,[a-z][^,\s\x00]{0,119}){0,99}$(?!\n)",
        description="names, by commas",
    ),
]
Channels = Annotated[
    str,
    Meta(
        max_length=8192,
        pattern=r"^{0}(,{0}){0,99}$(?!\n)".replace("{0}", r"(job|zone|user|role|room):[A-Za-z0-9_-]{1,64}", 2),
        description="channels, by commas: job:<id>, zone:<name>",
    ),
]


class EventsQuery(Body):
    """The query of ``GET /v1/events``. ``after`` is a cursor as text. With ``after`` or ``wait`` (seconds) the server
    sends one answer instead of a stream, unless the request accepts ``text/event-stream``. ``channels`` and ``types``
    (also ``job.*``) are separated by commas.
    """

    after: CursorText | None = None
    wait: Annotated[float, Meta(ge=0, le=60, description="seconds")] | None = None
    channels: Channels | None = None
    types: Names | None = None
    ticket: Token | None = None


class Frame(Shape):
    """An event as clients receive it: the same over the socket, a stream and a poll. ``type`` is the engine's name of
    the event, ``event`` the blueprint's name.
    """

    type: str
    event: str
    zone: str
    seq: int
    at: datetime
    data: dict[str, Any]


class EventPage(Shape):
    """The answer of a poll. ``cursor`` is for the next poll. If ``recovered`` is false, events may be missing: call
    ``/v1/sync`` and continue from the cursor of its answer.
    """

    events: list[Frame]
    cursor: str
    recovered: bool
    reason: Literal["too_old", "epoch"] | None = None


class StreamEvent(Shape):
    """One event of the stream. ``id`` is the cursor for the next connection. ``data`` is JSON text: a frame for an
    unnamed event, the start of the stream for ``connect``, the code for ``close``. /asyncapi.json describes them.
    """

    id: str | None = None
    event: Literal["connect", "close", "message"] | None = None
    data: str | None = None
    retry: Annotated[int | None, Meta(description="ms to wait before the next connection")] = None
