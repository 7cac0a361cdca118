"""Zones as places: which zone a position belongs to."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from engine.rules.polygons import Polygons
from engine.types import DEFAULT_ZONE, Zone

DEFAULT_TIMEZONE = "UTC"


class ZoneArea(msgspec.Struct, frozen=True):
    """A zone as a place: its area (None: it has none) and the IANA name of its time zone."""

    name: Zone
    polygons: Polygons | None = None
    timezone: str = DEFAULT_TIMEZONE


def zone_at(areas: Sequence[ZoneArea], lat: float, lon: float) -> Zone | None:
    """Return the zone of a position: the first whose area contains it, else ``main`` if ``main`` has no area of its
    own. None if the position is outside all zones.
    """
    for area in areas:
        if area.polygons is not None and area.polygons.contains(lat, lon):
            return area.name
    main_has_area = any(area.name == DEFAULT_ZONE and area.polygons is not None for area in areas)
    return None if main_has_area else DEFAULT_ZONE


def timezone_of(areas: Sequence[ZoneArea], zone: Zone) -> str:
    """Return the IANA name of a zone's time zone."""
    return next((area.timezone for area in areas if area.name == zone), DEFAULT_TIMEZONE)
