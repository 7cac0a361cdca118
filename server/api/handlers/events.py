"""Events without a WebSocket: as a stream, or by poll."""

from __future__ import annotations

from engine.errors import Forbidden, Unavailable
from engine.types import Cursor, Zone
from server.api.endpoint import RequestContext
from server.gateway import sse, stream_requests
from server.gateway.stream_requests import StreamRequest
from server.http.responses import StreamingResponse
from server.schemas.decode import Body
from server.schemas.events import EventsQuery


async def read_or_stream(call: RequestContext[Body, EventsQuery]) -> StreamingResponse:
    """Return the caller's events after a cursor: as server-sent events, or by long poll.

    With `Accept: text/event-stream`, or without `after` and `wait`, the answer is a stream. Each event's `id` is the
    cursor for the next connection (`Last-Event-ID`; the first cursor may be in `after`). The first event is `connect`.
    The last, if it can be sent, is `close` with the code.

    Otherwise the request gets one answer: the events after `after`. The answer comes at once if there are events, else
    when there is one or after `wait` seconds. Without `after` the answer has the cursor to begin with, and `recovered`
    is false.

    The parameter `ticket` accepts a ticket for events. Ops and services may name the `channels` to
    read, instead of their own channels, and may limit the answer to some `types` of events.
    """
    gateway, query = call.app_state.gateway, call.query
    if gateway is None:
        raise Unavailable("This node relays no events")
    if query.types is not None and not call.caller.is_ops and call.caller.role != "service":
        raise Forbidden("Only ops and services name types")
    streamed = "text/event-stream" in _header_text(call, b"accept") or (query.after is None and query.wait is None)
    asked = StreamRequest(
        cursors=_request_cursors(call, streamed),
        channels=_split_commas(query.channels),
        types=_split_commas(query.types),
    )
    if streamed:
        return await stream_requests.open_stream(gateway, call.caller, asked)
    return stream_requests.LongPoll(gateway, call.caller, asked, query.wait or 0)


def _request_cursors(call: RequestContext[Body, EventsQuery], streamed: bool) -> dict[Zone, Cursor]:
    """Return the cursors of the request. An EventSource reconnects with the URL of its first request, so the cursor in
    ``Last-Event-ID`` is newer than the one in the URL.
    """
    last = _header_text(call, b"last-event-id") if streamed else ""
    return sse.parse_cursors(last, "/Last-Event-ID") if last else sse.parse_cursors(call.query.after or "", "/after")


def _header_text(call: RequestContext[Body, EventsQuery], header: bytes) -> str:
    return call.headers.get(header, b"").decode("latin-1")


def _split_commas(list_text: str | None) -> tuple[str, ...]:
    return tuple(list_text.split(",")) if list_text else ()
