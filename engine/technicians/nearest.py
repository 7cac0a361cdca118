"""Find the technicians nearest to a place who provide a service, both online and offline."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sqlalchemy import select

from engine.rules.distances import distance_m
from engine.sql.schema import positions, technician_services, technicians, users
from engine.store import keys
from engine.types import ServiceId, TechnicianId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_NEAREST = 64
RADII_M = (2_000, 8_000, 32_000, 128_000)
"""The radii (m) of the searches among online technicians. The search stops at the first radius with enough
technicians."""
MAX_FOUND = 256
"""The most technicians that one search returns: the first ones that Redis finds, so that a crowd does not block the
zone."""


async def find_nearest(
    engine: Engine, zone: Zone, service: ServiceId, lat: float, lon: float, *, within_m: float = math.inf
) -> list[TechnicianId]:
    """Return the ``MAX_NEAREST`` technicians of the zone nearest to a place who provide the service, the nearest first:
    online technicians at their position, others at their last known one. Raises Unavailable.
    """
    online = await _find_online(engine, zone, service, lat, lon)
    found = await _find_known(engine, zone, service, lat, lon) | online
    near = (technician for technician, distance in found.items() if distance <= within_m)
    return sorted(near, key=lambda technician: (found[technician], technician))[:MAX_NEAREST]


async def _find_online(
    engine: Engine, zone: Zone, service: ServiceId, lat: float, lon: float
) -> dict[TechnicianId, float]:
    """Return technicians in the supply index with their distances in metres."""
    key, found = keys.technician_supply(zone, service), []
    for radius in RADII_M:
        words = ("FROMLONLAT", lon, lat, "BYRADIUS", radius, "m", "COUNT", MAX_FOUND, "ANY", "ASC", "WITHDIST")
        found = await engine.store.command("GEOSEARCH", key, *words)
        if len(found) >= MAX_NEAREST:
            break
    return {TechnicianId(name.decode()): float(distance) for name, distance in found}


async def _find_known(
    engine: Engine, zone: Zone, service: ServiceId, lat: float, lon: float
) -> dict[TechnicianId, float]:
    """Return the technicians nearest to the place by the positions that SQL has, with their distances in metres."""
    north, east = positions.c.lat - lat, (positions.c.lon - lon) * math.cos(math.radians(lat))
    query = select(positions.c.technician, positions.c.lat, positions.c.lon)
    query = query.join(technicians, technicians.c.id == positions.c.technician)
    query = query.join(technician_services, technician_services.c.technician == technicians.c.id)
    query = query.join(users, users.c.id == technicians.c.id)
    query = query.where(technician_services.c.service == service, technicians.c.zone == zone, users.c.active)
    query = query.where(technicians.c.kyc == "approved", technicians.c.account == "approved")
    query = query.order_by(north * north + east * east, positions.c.technician).limit(MAX_NEAREST)
    async with engine.archive.begin_read() as conn:
        rows = (await conn.execute(query)).all()
    return {name: distance_m(lat, lon, there_lat, there_lon) for name, there_lat, there_lon in rows}
