"""Events without a WebSocket: as a stream, or one answer at a time."""

from __future__ import annotations

from engine.errors import Forbidden, Unavailable
from engine.types import Cursor, Zone
from server.api.endpoint import RequestContext
from server.gateway import sse, stream_requests
from server.gateway.stream_requests import Asked
from server.http.responses import StreamingResponse
from server.schemas.decode import Body
from server.schemas.events import EventsQuery


async def hear(call: RequestContext[Body, EventsQuery]) -> StreamingResponse:
    """The caller's events from a cursor on: as server-sent events, or by long poll.

    With `Accept: text/event-stream`, or without `after` and `wait`, a stream: each event's `id` is the cursor to come
    back with (`Last-Event-ID`; a first one may stand in `after`), the first event is `connect`, the last, where one
    can be sent, `close` with the code. Else one answer: what came after `after`, at once where there is something,
    else when it comes or after `wait` seconds; without `after` the place to begin, `recovered` false.

    `?ticket=` takes a ticket for events. Ops and services may name `channels` instead of their own, and `types`.
    """
    gateway, query = call.edge.gateway, call.query
    if gateway is None:
        raise Unavailable("This node relays no events")
    if query.types is not None and not call.caller.is_ops and call.caller.role != "service":
        raise Forbidden("Only ops and services name types")
    streamed = "text/event-stream" in _header(call, b"accept") or (query.after is None and query.wait is None)
    asked = Asked(cursors=_cursors(call, streamed), channels=_names(query.channels), types=_names(query.types))
    if streamed:
        return await stream_requests.open_stream(gateway, call.caller, asked)
    return stream_requests.LongPoll(gateway, call.caller, asked, query.wait or 0)


def _cursors(call: RequestContext[Body, EventsQuery], streamed: bool) -> dict[Zone, Cursor]:
    """An EventSource comes back with the address it was made with, so the header is the later word."""
    last = _header(call, b"last-event-id") if streamed else ""
    return sse.parse(last, "/Last-Event-ID") if last else sse.parse(call.query.after or "", "/after")


def _header(call: RequestContext[Body, EventsQuery], name: bytes) -> str:
    return call.headers.get(name, b"").decode("latin-1")


def _names(text: str | None) -> tuple[str, ...]:
    return tuple(text.split(",")) if text else ()
