"""Refuse a simulation with places outside the zone ``main``. Its technicians work only in ``main``, so nobody would get
a job at such a place.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from engine.process.datadir import CannotStart
from engine.rules.polygons import parse_polygons
from engine.rules.zone_areas import ZoneArea, zone_at
from engine.types import DEFAULT_ZONE, Zone
from server.simulation.account import Operator
from server.simulation.pickups import Pickup

Position = tuple[float, float]


def check_places(areas: Sequence[ZoneArea], places: Iterable[Position], advice: str) -> None:
    """Check that all places (latitude, longitude) are in ``main``. Raises CannotStart, with what to do (``advice``)."""
    for lat, lon in places if areas else ():
        zone = zone_at(areas, lat, lon)
        if zone != DEFAULT_ZONE:
            where = f"in zone {zone}" if zone else "outside all zones"
            raise CannotStart(f"{lat:g}, {lon:g} is {where}, and the simulated technicians work in main: {advice}")


async def check_pickups(operator: Operator, pickups: Sequence[Pickup]) -> None:
    """Check that the operator's server has all pickups in ``main``. Raises CannotStart."""
    cards = (await operator.request("GET", "/v1/zones?limit=200"))["items"]
    areas = [ZoneArea(Zone(card["name"]), card["polygon"] and parse_polygons(card["polygon"])) for card in cards]
    places = ((pickup.lat, pickup.lon) for pickup in pickups)
    check_places(areas, places, "replay on a server without zones, or without --url")
