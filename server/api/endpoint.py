"""The processing of one request: the checks of caller, limits and content, the handler, and the answer or the problem.

Every route uses :class:`Endpoint`, so that no handler can omit a check. A handler receives a checked and typed
:class:`RequestContext`. An error that the handler raises becomes the problem object.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar
from urllib.parse import urlencode
from uuid import UUID, uuid4

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import Receive, Scope, Send

from engine.errors import (
    CalloutError,
    FieldError,
    Indeterminate,
    Invalid,
    NotFound,
    RateLimited,
    Unauthenticated,
)
from engine.identity.local_limits import LocalMeters
from engine.rules import photos
from engine.runtime import Engine
from engine.types import Principal, is_path_segment
from server.api.route import Route
from server.http import throttle
from server.http.auth import admitted_caller, authenticate_by_ticket
from server.http.responses import Header, Response, StreamingResponse
from server.schemas import decode, problems, query
from server.schemas.problems import WrongMethod

if TYPE_CHECKING:
    from server.api.api_docs import Document
    from server.gateway.gateway import Gateway
    from server.gateway.share_stream import ShareStreams
    from server.health import Health
    from server.http.http_metrics import HttpMetrics
    from server.whole_server import WholeServer

log = structlog.get_logger("http")

BodyT = TypeVar("BodyT")
QueryT = TypeVar("QueryT")

_ETAG = re.compile(rb'(?:(?:W/)?"([0-9]{1,15})"|([0-9]{1,15}))')


@dataclass(frozen=True, slots=True)
class AppState:
    """The objects that all requests of one server share."""

    engine: Engine
    gateway: Gateway | None
    """None on a server that relays no events."""
    health: Health
    whole: WholeServer
    http_metrics: HttpMetrics
    openapi_document: Document
    asyncapi_document: Document
    share_streams: ShareStreams
    local_meters: LocalMeters = field(default_factory=LocalMeters)
    """The meters with which this process counts requests while a zone is closed."""


@dataclass(slots=True)
class RequestContext(Generic[BodyT, QueryT]):
    """A decoded request. The caller is authenticated and has a role that the route admits, unless the route is for
    anyone.
    """

    app_state: AppState
    principal: Principal | None
    body: BodyT
    query: QueryT
    params: Mapping[str, str]
    headers: Mapping[bytes, bytes]
    """The headers as they were sent, by name in lower case."""
    key: str
    """The request key: the caller's or, if the caller sent none, a new key, so that every answer contains a key."""
    version: int | None
    """The version of the job that a step expects, from ``If-Match``. None: any version."""
    trace: str
    path: str
    address: str
    query_items: list[tuple[str, str]]
    """The query's parameters as they were sent, for the link to the next page."""

    @property
    def engine(self) -> Engine:
        """Return the engine that serves this request."""
        return self.app_state.engine

    @property
    def caller(self) -> Principal:
        """Return the caller. Raises Unauthenticated if the caller is unknown, which only routes for anyone allow."""
        if self.principal is None:
            raise Unauthenticated
        return self.principal

    @property
    def id(self) -> str:
        """Return the parameter ``id`` of the request's path."""
        return self.params["id"]

    def next_link(self, cursor: str) -> Header:
        """Return the ``Link`` header to the page of the list after ``cursor``: the same path and query, with another
        cursor.
        """
        query = [(name, value) for name, value in self.query_items if name != "cursor"]
        return b"link", f'<{self.path}?{urlencode([*query, ("cursor", cursor)])}>; rel="next"'.encode()


class Endpoint:
    """The ASGI application for all methods of one path."""

    def __init__(self, app_state: AppState, routes: list[Route]) -> None:
        self.app_state = app_state
        self.routes = {route.method: route for route in routes}
        if "GET" in self.routes:
            self.routes["HEAD"] = self.routes["GET"]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; each error becomes a problem object."""
        route = self.routes.get(scope["method"])
        if route is None:
            return await send_problem(scope, send, WrongMethod(self.routes))
        scope["state"]["operation"] = route.name
        extra_headers: list[Header] = []
        try:
            answer = await self._run_handler(route, scope, receive, extra_headers)
            done = answer if isinstance(answer, Response) else await answer(scope, receive, send, extra_headers)
        except ClientDisconnect:
            return
        except Exception as error:  # the task boundary: every refusal and every bug of a request ends here
            return await send_problem(scope, send, error, extra_headers)
        if done is not None:
            await send_response(scope, send, done, done.status or route.status, extra_headers)

    async def _run_handler(
        self, route: Route, scope: Scope, receive: Receive, extra_headers: list[Header]
    ) -> Response | StreamingResponse:
        if route.may_stream:
            await authenticate_by_ticket(scope, self.app_state.engine)
        principal = admitted_caller(scope, route.roles, serves_suspended=route.serves_suspended)
        if route.limit_name:
            await self._count_request(route, throttle.counted_name(principal, scope), extra_headers)
        call = await self._build_context(route, principal, scope, receive)
        if route.has_key:
            scope["state"]["key"] = call.key
            extra_headers.append((b"idempotency-key", call.key.encode()))
        return await route.handler(call)

    async def _count_request(self, route: Route, counted: str, extra_headers: list[Header]) -> None:
        engine, meters = self.app_state.engine, self.app_state.local_meters if route.needs_only_sql else None
        try:
            extra_headers += await throttle.count_request(engine, route.limit_name, counted, meters)
        except RateLimited as error:
            extra_headers += throttle.refusal_headers(route.limit_name, error)
            raise

    async def _build_context(
        self, route: Route, principal: Principal | None, scope: Scope, receive: Receive
    ) -> RequestContext[Any, Any]:
        headers = dict(scope["headers"])
        params = scope["path_params"]
        if not all(is_path_segment(value) for value in params.values()):
            raise NotFound
        has_body = route.body or route.takes_bytes
        raw = await throttle.read_body(scope, receive, route.max_body_bytes) if has_body else b""
        stream = throttle.body_parts(scope, receive, photos.MAX_BYTES) if route.raw_body else None
        query_string = scope["query_string"]
        return RequestContext(
            app_state=self.app_state,
            principal=principal,
            body=decode.decode_body(route.body, raw) if route.body else raw if route.takes_bytes else stream,
            query=query.decode_query(route.query, query_string),
            params=params,
            headers=headers,
            key=_request_key(headers) if route.has_key else "",
            version=_if_match_version(headers) if route.is_conditional else None,
            trace=scope["state"].get("trace", ""),
            path=scope["path"],
            address=throttle.client_address(scope),
            query_items=query.query_pairs(query_string),
        )


def expected_version(call: RequestContext[Any, Any]) -> int | None:
    """Return the job's version that the caller expects, from the body or ``If-Match``. Raises Invalid if the two
    differ.
    """
    versions = {version for version in (call.body.version, call.version) if version is not None}
    if len(versions) > 1:
        raise Invalid(errors=[FieldError("/version", "Not the version of If-Match")])
    return versions.pop() if versions else None


def _request_key(headers: dict[bytes, bytes]) -> str:
    given = headers.get(b"idempotency-key")
    if given is None:
        return str(uuid4())
    try:
        return str(UUID(given.decode("latin-1")))
    except ValueError:
        raise Invalid(errors=[FieldError("/Idempotency-Key", "Expected a UUID")]) from None


def _if_match_version(headers: dict[bytes, bytes]) -> int | None:
    """Return the version in ``If-Match``; None for ``*``, which is any version. The version may be in quotes, also as a
    weak tag (a proxy that compresses makes tags weak), or without quotes.
    """
    given = headers.get(b"if-match", b"*").strip()
    if given == b"*":
        return None
    match = _ETAG.fullmatch(given)
    if match is None:
        raise Invalid(errors=[FieldError("/If-Match", 'Expected the version of the job in quotes: "7"')])
    return int(match[1] or match[2])


async def send_problem(scope: Scope, send: Send, error: Exception, extra_headers: list[Header] | None = None) -> None:
    """Send the problem object of ``error``. If ``error`` is not a CalloutError, log it and leave its text out of the
    object.
    """
    state = scope["state"]
    if not isinstance(error, CalloutError) or error.status == 500:
        log.error("unhandled", request_id=state["request_id"], path=scope["path"], exc_info=error)
    if isinstance(error, Indeterminate) and "key" in state:
        error.extra["key"] = state["key"]
    headers = [*(extra_headers or []), *problems.problem_headers(error)]
    answer = Response(problems.encode_problem(error, state["request_id"]), media=problems.MEDIA_TYPE)
    await send_response(scope, send, answer, error.status if isinstance(error, CalloutError) else 500, headers)


async def send_response(scope: Scope, send: Send, answer: Response, status: int, extra_headers: list[Header]) -> None:
    """Send ``answer``; for HEAD only the headers."""
    length = (b"content-length", str(len(answer.body)).encode())
    headers = [*answer.headers, *extra_headers, length, (b"cache-control", b"no-store")]
    if answer.body:
        headers.append((b"content-type", answer.media))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else answer.body})
