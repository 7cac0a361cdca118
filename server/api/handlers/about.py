"""The server itself: health, metrics and documents."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path

from engine.clock import now_ms
from engine.errors import ERROR_OF_CODE, MEANING_OF_CODE, NotFound
from engine.events import rfc3339_of
from engine.process import metrics
from engine.process.vapid import open_vapid_key
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.polling import POLL_INTERVALS_S
from server.http.responses import Response
from server.schemas.about import MapSource
from server.schemas.decode import Body, NoQuery
from server.schemas.towns import TOWN_FILE


async def alive(call: RequestContext[Body, NoQuery]) -> Response:
    """Answer, to show that the process runs."""
    return responses.json_response({"ok": True})


async def ready(call: RequestContext[Body, NoQuery]) -> Response:
    """Return whether the server should receive requests; if not, the status is 503 and the answer has the problems."""
    problems = await call.app_state.whole.find_problems()
    durability = call.app_state.health.durability_report()
    answer = responses.json_response({"ready": not problems, "problems": problems, "durability": durability})
    return answer._replace(status=503 if problems else 200)


async def counts(call: RequestContext[Body, NoQuery]) -> Response:
    """Return metrics for Prometheus; if `CALLOUT_METRICS_PORT` is set, also on that port and there without a token."""
    return Response(await call.app_state.whole.render_metrics(), media=metrics.CONTENT_TYPE.encode())


async def problem(call: RequestContext[Body, NoQuery]) -> Response:
    """Return the meaning of a problem's code; the `type` of a problem links to it."""
    code = call.params["code"]
    kind = ERROR_OF_CODE.get(code)
    if kind is None:
        raise NotFound("No such code")
    kind_members = {"code": code, "status": kind.status, "title": kind.title, "temporary": kind.temporary}
    return responses.object_response("problem", {**kind_members, "means": MEANING_OF_CODE[code]})


async def document(call: RequestContext[Body, NoQuery]) -> Response:
    """Return the OpenAPI document of the HTTP interface."""
    return Response(await call.app_state.openapi_document.text())


async def messages(call: RequestContext[Body, NoQuery]) -> Response:
    """Return the AsyncAPI document of the messages of the socket and of the event stream."""
    return Response(await call.app_state.asyncapi_document.text())


async def meta(call: RequestContext[Body, NoQuery]) -> Response:
    """Return the facts that a client needs before it signs in."""
    settings = call.engine.settings
    contact = settings.web_push_contact
    return responses.json_response(
        {
            "name": "callout",
            "version": version("callout"),
            "now": rfc3339_of(now_ms()),
            "zones": settings.all_zones,
            "blueprint": settings.blueprint,
            "socket": "/v1/ws",
            "subprotocols": ["callout.v1.json", "callout.v1.msgpack"],
            "poll": POLL_INTERVALS_S,
            "map": MapSource(
                style=settings.map_style, tiles=settings.map_tiles, attribution=settings.map_attribution or None
            ),
            "demo": settings.demo is not None,
            "web_push_key": contact and open_vapid_key(call.engine.signer, contact).public_key,
        }
    )


async def town(call: RequestContext[Body, NoQuery]) -> Response:
    """Return the streets of a demo's synthetic town as GeoJSON. Other servers have none and answer `not_found`."""
    return Response(_read_town(call.engine.settings.demo))


def _read_town(logins_file: str | None) -> bytes:
    try:
        if logins_file:
            return Path(logins_file).with_name(TOWN_FILE).read_bytes()
    except FileNotFoundError:
        pass
    raise NotFound("This server is no demo")
