"""The HTTP application: the layers around the routes, from the outermost to the innermost.

1. :class:`RequestLayer` gives every response an ``X-Request-Id``, reads ``traceparent``, counts, and turns an uncaught
   exception into a problem document.
2. CORS, by exact origins.
3. :class:`~server.http.auth.AuthenticationLayer`.
4. The routes of server/api/routes.py, each an :class:`~server.api.endpoint.Endpoint`.

All layers are plain ASGI. WebSockets pass through layer 3 only: the coroutine frames of a RequestLayer and a router
would stay in memory as long as each socket is open.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterable, MutableMapping
from functools import partial
from secrets import token_hex
from typing import Any

from starlette import routing
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from engine.errors import CalloutError, Indeterminate, NotFound, Unavailable
from engine.process.metrics import CONTENT_TYPE
from engine.process.settings import Settings
from engine.runtime import Engine
from server.api import asyncapi, openapi
from server.api.api_docs import Document
from server.api.endpoint import AppState, Endpoint, send_problem
from server.api.route import Route
from server.api.routes import ROUTES
from server.gateway.gateway import Gateway
from server.gateway.handshake import send_error
from server.gateway.share_stream import ShareStreams
from server.gateway.socket_endpoint import SocketEndpoint
from server.health import Health
from server.http.auth import AuthenticationLayer
from server.http.http_metrics import HttpMetrics
from server.schemas import problems
from server.schemas.fields import TRACE
from server.web.assets import Assets
from server.web.built import BuiltPages
from server.web.demo_relay import DemoRelay
from server.web.docs_pages import DocsPages
from server.web.shells import BELOW, SHELLS, ShellPage
from server.web.static import StaticFiles
from server.whole_server import WholeServer

__all__ = ["Health", "build_app"]

SOCKET_PATH = "/v1/ws"

_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,64}")
_TRACE = re.compile(TRACE.encode())

_REQUEST_HEADERS = [
    "Authorization",
    "Content-Type",
    "Idempotency-Key",
    "If-Match",
    "Last-Event-ID",
    "X-Request-Id",
    "traceparent",
]
_RESPONSE_HEADERS = [
    "ETag",
    "Idempotency-Key",
    "Idempotency-Replayed",
    "Link",
    "Location",
    "RateLimit",
    "RateLimit-Policy",
    "Retry-After",
    "WWW-Authenticate",
    "X-Request-Id",
]


def build_app(
    engine: Engine, gateway: Gateway | None, health: Health, whole: WholeServer, http_metrics: HttpMetrics
) -> ASGIApp:
    """Return the ASGI application of one server. If ``gateway`` is None, every WebSocket handshake is refused.

    Call this once for each engine, because it registers counters with the engine's metrics.
    """
    http_metrics.register(engine.metrics)
    document = Document(partial(openapi.document, ROUTES), engine.blueprints)
    messages = Document(asyncapi.document, engine.blueprints)
    shares = ShareStreams(lambda: health.draining)
    app_state = AppState(engine, gateway, health, whole, http_metrics, document, messages, shares)
    signs_of_life = gateway.wheel.signs_of_life if gateway else None
    http: ASGIApp = AuthenticationLayer(_router(app_state, ROUTES), engine, signs_of_life)
    if engine.settings.origins:
        http = CORSMiddleware(
            http,
            allow_origins=engine.settings.origins,
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=_REQUEST_HEADERS,
            expose_headers=_RESPONSE_HEADERS,
            max_age=3600,
        )
    sockets = AuthenticationLayer(_SocketApp(gateway), engine)
    return _HttpAndSockets(RequestLayer(http, http_metrics), sockets)


def metrics_app(whole: WholeServer) -> ASGIApp:
    """Return the ASGI application of a port that serves ``GET /metrics`` only, to any caller."""

    async def serve_metrics(request: Request) -> Response:
        return Response(await whole.render_metrics(), media_type=CONTENT_TYPE)

    return routing.Router([routing.Route("/metrics", serve_metrics)])


class _HttpAndSockets:
    """An ASGI application that calls one application for HTTP and another for WebSockets. It does nothing at start and
    stop, because server/serve.py starts and stops everything.
    """

    def __init__(self, http: ASGIApp, sockets: ASGIApp) -> None:
        self.http = http
        self.sockets = sockets

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            return await self.http(scope, receive, send)
        if scope["type"] == "websocket":
            return await self.sockets(scope, receive, send)
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})


class _SocketApp:
    """The ASGI application of WebSockets: ``/v1/ws``, and a refusal for every other path."""

    def __init__(self, gateway: Gateway | None) -> None:
        self._endpoint = SocketEndpoint(gateway) if gateway is not None else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == SOCKET_PATH and self._endpoint is not None:
            return await self._endpoint(scope, receive, send)
        await send_error(send, NotFound("No such route"))


class RequestLayer:
    """An ASGI layer that gives each request an id, counts its response, prevents browsers from guessing the media type,
    and handles the exceptions that the inner layers do not catch.
    """

    def __init__(self, app: ASGIApp, http_metrics: HttpMetrics) -> None:
        self.app = app
        self.http_metrics = http_metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the application, and add ``X-Request-Id`` and ``X-Content-Type-Options`` to its response."""
        state: dict[str, Any] = scope.setdefault("state", {})
        asked, trace = _request_ids(scope["headers"])
        request_id = asked or token_hex(8)
        state.update(request_id=request_id, trace=trace, operation="")
        began = time.perf_counter()
        status, took = 0, 0.0

        async def send_with_request_id(message: MutableMapping[str, Any]) -> None:
            nonlocal status, took
            if message["type"] == "http.response.start":
                # measured here, because a stream lasts for hours
                status, took = message["status"], time.perf_counter() - began
                message["headers"] = [*message["headers"], (b"x-request-id", request_id.encode()), problems.NOSNIFF]
            await send(message)

        try:
            await self.app(scope, receive, send_with_request_id)
        # the server stops, and this request took longer than the time that the server waits for requests
        except asyncio.CancelledError:
            if status:
                raise
            await send_problem(scope, send_with_request_id, _error_of_cancelled(scope["method"]))
        except Exception as error:  # a bug in a layer: this is the last place where an error response can be sent
            if status:
                raise
            await send_problem(scope, send_with_request_id, error)
        finally:
            self.http_metrics.count_response(state["operation"], status, took or time.perf_counter() - began)


def _error_of_cancelled(method: str) -> CalloutError:
    """Return the error of a request that was cancelled before its answer. A request that only reads changed nothing."""
    kind = Unavailable if method in ("GET", "HEAD") else Indeterminate
    return kind("The server ends")


def _request_ids(headers: Iterable[tuple[bytes, bytes]]) -> tuple[str, str]:
    """Return the caller's request id and traceparent, "" for each that is missing or not well formed: both are written
    to logs and events.
    """
    request_id = trace = ""
    for name, value in headers:
        if name == b"x-request-id" and _REQUEST_ID.fullmatch(value):
            request_id = value.decode()
        elif name == b"traceparent" and _TRACE.fullmatch(value):
            trace = value.decode()
    return request_id, trace


def _router(app_state: AppState, routes: Iterable[Route]) -> routing.Router:
    """Return the router of all paths, in the order of the table: in it the fixed paths come before ``{command}``. The
    files for browsers come last; they need no token.
    """
    by_path: dict[str, list[Route]] = {}
    for route in routes:
        by_path.setdefault(route.path, []).append(route)
    paths = [routing.Route(path, Endpoint(app_state, group)) for path, group in by_path.items()]
    paths += _page_routes(app_state.engine.settings)
    return routing.Router(paths, redirect_slashes=False, default=_not_found)


def _page_routes(settings: Settings) -> list[routing.Route]:
    """Return the routes of what browsers load."""
    files, pages = StaticFiles(), BuiltPages()
    shells = {path: ShellPage(path, pages, settings) for path in SHELLS}
    paths = [routing.Route("/assets/{name}", Assets(pages))]
    paths += [routing.Route(path, shell) for path, shell in shells.items()]
    paths += [routing.Route(f"{path}/{{rest:path}}", shells[path]) for path in BELOW]
    paths += [routing.Route(path, files) for path in ("/web/", "/web/{name}")]
    if settings.demo:
        paths.append(routing.Route("/demo/{path:path}", DemoRelay(settings.demo)))
    return [*paths, routing.Route("/docs/{name}", DocsPages(pages))]


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    await send_problem(scope, send, NotFound("No such route"))
