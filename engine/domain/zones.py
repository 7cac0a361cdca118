"""The zones of a deployment: as clients see them, and which zone a position belongs to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from engine.errors import FieldError, OutOfArea
from engine.rules.zone_areas import timezone_of, zone_at
from engine.types import Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

OUTSIDE_TEXT = "Outside the service area"
OTHER_ZONE_TEXT = "In another zone: a job stays in the zone in which it was booked"


class ZoneCard(msgspec.Struct, frozen=True):
    """A zone. ``polygon`` is its area as GeoJSON; None is everywhere that is in no other zone."""

    name: Zone
    polygon: dict[str, Any] | None
    timezone: str


def list_zones(engine: Engine) -> list[ZoneCard]:
    """Return all zones of the deployment, in the order of the settings file: a position in several belongs to the
    first.
    """
    areas = engine.settings.zone_areas
    polygons = {area.name: area.polygons.geometry for area in areas if area.polygons}
    return [ZoneCard(zone, polygons.get(zone), timezone_of(areas, zone)) for zone in engine.settings.all_zones]


def readable_zones(engine: Engine) -> list[Zone]:
    """Return the zones whose data a list contains: the open ones. If all zones are closed, return all: reading one of
    them then raises an error that says why it is closed.
    """
    found = [zone for zone, state in engine.store.zones.items() if state.open]
    return found or list(engine.store.zones)


def zone_of_place(engine: Engine, lat: float, lon: float) -> Zone:
    """Return the zone in which a job at this position is booked. Raises OutOfArea if it is outside all zones."""
    zone = zone_at(engine.settings.zone_areas, lat, lon)
    if zone is None:
        raise OutOfArea(errors=[FieldError("/lat", OUTSIDE_TEXT), FieldError("/lon", OUTSIDE_TEXT)])
    return zone


def check_new_place(engine: Engine, zone: Zone, before: tuple[float, float], after: tuple[float, float]) -> None:
    """Check that a job of ``zone`` may move from the position ``before`` to ``after``: a job keeps its zone. A job
    whose place is in another zone already, because an area has changed since, may move inside of that zone.

    Raises OutOfArea.
    """
    areas = engine.settings.zone_areas
    found = zone_of_place(engine, *after)
    if found not in (zone, zone_at(areas, *before)):
        raise OutOfArea(errors=[FieldError("/lat", OTHER_ZONE_TEXT), FieldError("/lon", OTHER_ZONE_TEXT)])
