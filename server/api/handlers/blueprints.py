"""Blueprints: the lifecycles of jobs."""

from __future__ import annotations

from engine.errors import NotFound
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.blueprints import public_view
from server.schemas.decode import Body, NoQuery
from server.schemas.lists import ListQuery


async def find(call: RequestContext[Body, ListQuery]) -> Response:
    """Return all blueprints that a booking may name, sorted by name."""
    known = call.engine.blueprints
    shown = [public_view(found, default=found is known.default) for found in known.by_name.values()]
    return responses.list_response(call.next_link, call.query, shown, lambda one: (one.name,))


async def read(call: RequestContext[Body, NoQuery]) -> Response:
    """Return a blueprint: for `name` the version for new jobs, for `name@version` the version of a running job."""
    known, name = call.engine.blueprints, call.params["name"]
    found = known.by_name.get(name) or known.by_key.get(name)
    if found is None:
        raise NotFound("No such blueprint")
    return responses.object_response("blueprint", public_view(found, default=found is known.default))
