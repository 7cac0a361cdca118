"""The routes about zones. They are a part of the table in server/api/routes.py."""

from __future__ import annotations

from engine.roles import ANY_ROLE, OPS
from server.api.handlers import zones
from server.api.route import Route, list_route
from server.http import policy
from server.schemas.maps import MapQuery, MapReply, PlacesReply, ZoneItem
from server.schemas.travel import ArrivalQuality

ZONE_ROUTES: tuple[Route, ...] = (
    list_route("/v1/zones", zones.find, ANY_ROLE, policy.OWN_DATA, ZoneItem),
    Route("GET", "/v1/zones/{zone}/quality", zones.read_quality, ANY_ROLE, policy.READ_ZONE, reply=ArrivalQuality),
    Route("GET", "/v1/zones/{zone}/map", zones.read_map, OPS, policy.READ_MAP, query=MapQuery, reply=MapReply),
    Route("GET", "/v1/zones/{zone}/places", zones.read_places, OPS, policy.READ_MAP, reply=PlacesReply),
)
