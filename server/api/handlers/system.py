"""The server as its operators see it, and the search of the staff."""

from __future__ import annotations

import msgspec

from engine.domain import search as staff_search
from engine.domain import stats, system
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body, NoQuery
from server.schemas.system import SearchQuery, StatsQuery


async def read_stats(call: RequestContext[Body, StatsQuery]) -> Response:
    """Return the figures of the last 15 minutes in steps of two seconds, of all gateways, workers and hosts together.

    The steps are ordered by time. A step without a sample is left out, for example one during which Redis was
    unavailable.
    """
    points = await stats.read_stats(call.engine, call.caller, call.query.since)
    return responses.json_response({"step_s": stats.STEP_S, "items": points})


async def read_system(call: RequestContext[Body, NoQuery]) -> Response:
    """Return the processes of all servers, the zones with their logs and archives, Redis and the kind of database."""
    found = await system.read_system(call.engine, call.caller)
    problems = await call.app_state.whole.find_problems()
    return responses.object_response("system", msgspec.structs.asdict(found) | {"problems": problems})


async def read_settings(call: RequestContext[Body, NoQuery]) -> Response:
    """Return the settings of the process that answers, sorted by name, with its secrets masked."""
    return responses.json_response({"items": system.read_settings(call.engine, call.caller)})


async def search(call: RequestContext[Body, SearchQuery]) -> Response:
    """Return people whose name contains a text, and jobs whose id, reference, address or customer contains it, the
    newest first and at most ten of each. Onboarding managers find only technicians; only admins search e-mail
    addresses.
    """
    return responses.json_response({"items": await staff_search.search(call.engine, call.caller, call.query.q)})
