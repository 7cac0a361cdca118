"""Words to bytes: the bodies and headers of good answers. JSON that the engine gives as bytes is
embedded unread.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from operator import itemgetter
from types import GenericAlias
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeVar

import msgspec
from starlette.types import Receive, Scope, Send

from engine.rules import job_document
from engine.sql.paging import decode_cursor, slice_of

if TYPE_CHECKING:
    from engine.idempotency.in_redis import Outcome
    from engine.idempotency.in_sql import Result
    from server.schemas.lists import ListQuery

T = TypeVar("T")
Place = Callable[[T], tuple[str | int, ...]]
Header = tuple[bytes, bytes]
NextLink = Callable[[str], Header]
"""Builds the ``Link`` header to the next page of the request's list from that page's cursor."""

JSON = b"application/json"


class Response(NamedTuple):
    """A response: ``status`` None is the route's own; a body of no bytes is sent without a type."""

    body: bytes = b""
    headers: tuple[Header, ...] = ()
    status: int | None = None
    media: bytes = JSON


class StreamingResponse(Protocol):
    """An answer that is not there yet: a stream, which answers by itself (None), or one that has to wait, and for
    which the caller may not.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send, extra: list[Header], /) -> Response | None:
        """Raises CalloutError before anything is sent, nothing after; ClientDisconnect where nobody waits any more."""


class Repeatable(Protocol):
    """What a command done under a request key comes to."""

    @property
    def repeated(self) -> bool:
        """Whether this is the first verdict given again."""


def raw(json: bytes) -> msgspec.Raw:
    """``json`` to stand as it is inside an answer."""
    return msgspec.Raw(json)


def one(noun: str, thing: Any, *headers: Header) -> Response:
    """``{"<noun>": thing}``."""
    return Response(msgspec.json.encode({noun: thing}), headers)


def plain(thing: Any, *headers: Header) -> Response:
    """``thing`` itself, where PROTOCOL gives the members of the answer one by one."""
    return Response(msgspec.json.encode(thing), headers)


def kept(noun: str, done: Result[Any]) -> Response:
    """What a command done in SQL answers: the thing, and whether it is a repeat."""
    return one(noun, done.value, *replayed(done))


def made(noun: str, done: Result[Any], where: str) -> Response:
    """What a creation answers: as `kept`, and its ``Location`` under ``where``."""
    return one(noun, done.value, *replayed(done), (b"location", f"{where}/{done.value.id}".encode()))


def replayed(done: Repeatable) -> tuple[Header, ...]:
    """The sign that this is the first verdict given again."""
    return ((b"idempotency-replayed", b"true"),) if done.repeated else ()


def job(json: bytes) -> Response:
    """A job that was read, with the ``ETag`` that a conditional step gives back."""
    return one("job", raw(json), _etag(job_document.view(json).version))


def outcome(done: Outcome) -> Response:
    """What a step answers: ``{job, message?}`` with version, and whether it is a repeat."""
    members = {"job": done.job, "message": done.message}
    body = msgspec.json.encode({name: value for name, value in members.items() if value is not None})
    return Response(body, (_etag(done.version), *replayed(done)))


def created(done: Outcome) -> Response:
    """What a booking answers: 201 with ``Location``, or 200 where its ``reference`` had a job already."""
    answer = outcome(done)
    name = job_document.view(done.job).id if done.job else ""
    where = (b"location", f"/v1/jobs/{name}".encode())
    return answer._replace(headers=(*answer.headers, where), status=201 if done.created else 200)


def _etag(version: int) -> Header:
    return b"etag", f'"{version}"'.encode()


def page(next_link: NextLink, items: Iterable[Any], after: str | None, as_of: Any = None) -> Response:
    """``{items, next}`` with a ``Link`` to the next page. A list of live objects also has ``as_of``.

    Items of type bytes are JSON already.
    """
    body: dict[str, Any] = {"items": [raw(item) if isinstance(item, bytes) else item for item in items]}
    body["next"] = after
    if as_of is not None:
        body["as_of"] = as_of
    return Response(msgspec.json.encode(body), (next_link(after),) if after else ())


def listed(
    next_link: NextLink,
    query: ListQuery,
    items: Iterable[T],
    place: Place[T],
    *,
    newest_first: bool = False,
    as_of: Any = None,
) -> Response:
    """A page of a list that was read as a whole, in the order of ``place``: `limit` items from `cursor` on.

    ``place`` gives an item's sort key, which no two items share. Raises Invalid for a cursor of another list.
    """
    placed = sorted(((place(item), item) for item in items), key=itemgetter(0), reverse=newest_first)
    if query.cursor:
        parts = tuple(type(part) for part in placed[0][0]) if placed else (str | int, ...)
        after = decode_cursor(query.cursor, GenericAlias(tuple, parts))
        placed = [each for each in placed if (each[0] < after if newest_first else each[0] > after)]
    rest = slice_of(placed, query.limit, itemgetter(0))
    return page(next_link, [item for _, item in rest.items], rest.next, as_of)
