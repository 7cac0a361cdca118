"""Build the bodies and headers of successful responses. JSON that the engine returns as bytes is embedded without
parsing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from types import GenericAlias
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import msgspec
from starlette.types import Receive, Scope, Send

from engine.rules import job_document
from engine.sql.paging import decode_cursor, make_slice

if TYPE_CHECKING:
    from engine.idempotency.in_redis import Outcome
    from engine.idempotency.in_sql import Result
    from server.schemas.lists import ListQuery

T = TypeVar("T")
SortKey = Callable[[T], tuple[str | int, ...]]
Header = tuple[bytes, bytes]
NextLink = Callable[[str], Header]
"""Builds the ``Link`` header to the next page of the request's list from that page's cursor."""

JSON_TYPE = b"application/json"


class Response(NamedTuple):
    """A response. ``status`` None means the route's own status. An empty body is sent without a ``Content-Type``."""

    body: bytes = b""
    headers: tuple[Header, ...] = ()
    status: int | None = None
    media: bytes = JSON_TYPE


class StreamingResponse(Protocol):
    """A response that is not complete when the handler returns: an event stream, which sends itself and returns None,
    or the answer to a long poll, for which the server waits while the client may disconnect.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send, extra: list[Header], /) -> Response | None:
        """Send the response, or return it. Raises CalloutError only before anything was sent, and ClientDisconnect if
        the client has disconnected.
        """


class Repeatable(Protocol):
    """The result of a command with a request key."""

    @property
    def repeated(self) -> bool:
        """Return whether this is the stored result of an earlier request with the same key."""


def embed_json(json: bytes) -> msgspec.Raw:
    """Return ``json`` so that it is embedded in a response unchanged."""
    return msgspec.Raw(json)


def object_response(noun: str, content: Any, *headers: Header) -> Response:
    """Return a response with one member: its name is ``noun``, its value is ``content``."""
    return Response(msgspec.json.encode({noun: content}), headers)


def json_response(content: Any, *headers: Header) -> Response:
    """Return ``content`` itself as the response, for routes whose members PROTOCOL lists one by one."""
    return Response(msgspec.json.encode(content), headers)


def stored_response(noun: str, result: Result[Any]) -> Response:
    """Return the response to a command whose outcome is stored in SQL: the object under ``noun``, and a header if the
    result is a repeat.
    """
    return object_response(noun, result.value, *replay_headers(result))


def creation_response(noun: str, result: Result[Any], base_path: str) -> Response:
    """Return the response to a creation: the same as ``stored_response``, and its ``Location`` below ``base_path``."""
    return object_response(
        noun, result.value, *replay_headers(result), (b"location", f"{base_path}/{result.value.id}".encode())
    )


def replay_headers(result: Repeatable) -> tuple[Header, ...]:
    """Return the header ``Idempotency-Replayed`` if ``result`` is the stored result of an earlier request, else
    nothing.
    """
    return ((b"idempotency-replayed", b"true"),) if result.repeated else ()


def job_response(json: bytes) -> Response:
    """Return the response to a read of a job, with the ``ETag`` that a client sends back in a conditional step."""
    return object_response("job", embed_json(json), _etag(job_document.decode_job(json).version))


def step_response(outcome: Outcome, **more: Any) -> Response:
    """Return the response to a step: ``{job, message?}`` and ``more``, with an ``ETag``, and a header if the result is
    a repeat.
    """
    members = {"job": outcome.job, "room": outcome.room, "message": outcome.message, **more}
    body = msgspec.json.encode({name: value for name, value in members.items() if value is not None})
    return Response(body, (_etag(outcome.version), *replay_headers(outcome)))


def booking_response(outcome: Outcome) -> Response:
    """Return the response to a booking: 201 with ``Location``, or 200 if its ``reference`` already had a job."""
    answer = step_response(outcome)
    name = job_document.decode_job(outcome.job).id if outcome.job else ""
    where = (b"location", f"/v1/jobs/{name}".encode())
    return answer._replace(headers=(*answer.headers, where), status=201 if outcome.created else 200)


def _etag(version: int) -> Header:
    return b"etag", f'"{version}"'.encode()


def page_response(next_link: NextLink, items: Iterable[Any], after: str | None, as_of: Any = None) -> Response:
    """Return the response ``{items, next}`` with a ``Link`` to the next page. A list of live objects also has
    ``as_of``. ``after`` is the cursor of the next page, None on the last page.

    Items of type bytes are JSON already.
    """
    body: dict[str, Any] = {"items": [embed_json(item) if isinstance(item, bytes) else item for item in items]}
    body["next"] = after
    if as_of is not None:
        body["as_of"] = as_of
    return Response(msgspec.json.encode(body), (next_link(after),) if after else ())


def list_response(
    next_link: NextLink,
    query: ListQuery,
    items: Iterable[T],
    sort_key: SortKey[T],
    *,
    newest_first: bool = False,
    as_of: Any = None,
) -> Response:
    """Return a page of a list that was read as a whole, in the order of ``sort_key``: `limit` items after `cursor`.

    ``sort_key`` returns an item's sort key, which must be unique. Raises Invalid for a cursor of another list.
    """
    placed = sorted(((sort_key(item), item) for item in items), key=itemgetter(0), reverse=newest_first)
    if query.cursor:
        parts = tuple(type(part) for part in placed[0][0]) if placed else (str | int, ...)
        after = decode_cursor(query.cursor, GenericAlias(tuple, parts))
        placed = [each for each in placed if (each[0] < after if newest_first else each[0] > after)]
    rest = make_slice(placed, query.limit, itemgetter(0))
    return page_response(next_link, [item for _, item in rest.items], rest.next, as_of)
