"""Zones, and the map of a zone."""

from __future__ import annotations

from typing import Any

from engine.archive import past_places
from engine.domain import arrival_quality, demand, zone_map, zones
from engine.types import Zone
from server.api.endpoint import RequestContext
from server.http import responses
from server.http.responses import Response
from server.schemas.decode import Body, NoQuery
from server.schemas.lists import ListQuery
from server.schemas.maps import MapQuery


async def find(call: RequestContext[Body, ListQuery]) -> Response:
    """Return the zones with their polygons and time zones. A position in several polygons belongs to the first zone; a
    position outside all polygons belongs to the zone without a polygon.
    """
    found = zones.list_zones(call.engine)
    order = {zone.name: place for place, zone in enumerate(found)}
    return responses.list_response(call.next_link, call.query, found, lambda zone: (order[zone.name],))


async def read_quality(call: RequestContext[Body, NoQuery]) -> Response:
    """Return how accurate the predicted arrivals of a zone were in the last four weeks, from its finished jobs: the
    share of kept promises, and the errors by the time that was left. Each prediction uses only what was learnt before
    the journey.
    """
    found = await arrival_quality.read_quality(call.engine, Zone(call.params["zone"]))
    return responses.json_response(found)


async def read_map(call: RequestContext[Body, MapQuery]) -> Response:
    """Return the present map of a zone: the people and the live jobs in a box (or their numbers by H3 cell if they are
    too many), and the requests in each cell. To follow the map, `subscribe` to `map:<zone>` on the socket.
    """
    zone, query = Zone(call.params["zone"]), call.query
    found = await zone_map.read_map(call.engine, call.caller, zone, query.box, query.wanted_layers)
    layers = {layer: [responses.embed_json(each) for each in entries] for layer, entries in found.entries.items()}
    clusters = [responses.embed_json(each) for each in found.clusters]
    areas: dict[str, Any] = {}
    if query.has_demand:
        items = await demand.list_areas(call.engine, call.caller, zone, "cell", query.box)
        items.sort(key=lambda item: (-item["score"], item["area"]))
        areas["demand"] = items[: zone_map.MAX_ENTRIES]
    return responses.json_response(
        {"zone": zone, **layers, **areas, "clusters": clusters, "as_of": {zone: found.as_of}}
    )


async def read_places(call: RequestContext[Body, NoQuery]) -> Response:
    """Return the places of the newest 10,000 jobs of a zone that are over, rounded to 25 m, each once: the shape of the
    city, as a background of the map.
    """
    zone = Zone(call.params["zone"])
    zone_map.require_map_reader(call.engine, call.caller, zone)
    return responses.json_response({"zone": zone, "places": await past_places.read_places(call.engine.archive, zone)})
