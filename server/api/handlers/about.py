"""The server itself: health, metrics and documents."""

from __future__ import annotations

from importlib.metadata import version

from engine.clock import now_ms
from engine.errors import BY_CODE, MEANING, NotFound
from engine.events import iso
from engine.process import metrics
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.polling import POLL
from server.http.responses import Response
from server.schemas.decode import Body, NoQuery


async def alive(call: RequestContext[Body, NoQuery]) -> Response:
    """Whether the process answers."""
    return responses.plain({"ok": True})


async def ready(call: RequestContext[Body, NoQuery]) -> Response:
    """Whether the server should receive requests; 503 names the problems."""
    problems = call.edge.health.problems()
    answer = responses.plain({"ready": not problems, "problems": problems})
    return answer._replace(status=503 if problems else 200)


async def counts(call: RequestContext[Body, NoQuery]) -> Response:
    """Metrics for Prometheus; without a token on the port of `CALLOUT_METRICS_PORT`, if that is set."""
    return Response(call.engine.metrics.render(), media=metrics.CONTENT_TYPE.encode())


async def problem(call: RequestContext[Body, NoQuery]) -> Response:
    """The meaning of a problem's code: the target of the `type` of a problem."""
    code = call.params["code"]
    kind = BY_CODE.get(code)
    if kind is None:
        raise NotFound("No such code")
    kind_members = {"code": code, "status": kind.status, "title": kind.title, "temporary": kind.temporary}
    return responses.one("problem", {**kind_members, "means": MEANING[code]})


async def document(call: RequestContext[Body, NoQuery]) -> Response:
    """The HTTP interface as an OpenAPI document."""
    return Response(await call.edge.document.text())


async def messages(call: RequestContext[Body, NoQuery]) -> Response:
    """The messages of the socket and of the event stream as an AsyncAPI document."""
    return Response(await call.edge.messages.text())


async def meta(call: RequestContext[Body, NoQuery]) -> Response:
    """The facts that a client needs before it signs in."""
    settings = call.engine.settings
    return responses.plain(
        {
            "name": "callout",
            "version": version("callout"),
            "now": iso(now_ms()),
            "zones": settings.zones,
            "blueprint": settings.blueprint,
            "socket": "/v1/ws",
            "subprotocols": ["callout.v1.json", "callout.v1.msgpack"],
            "poll": POLL,
        }
    )
