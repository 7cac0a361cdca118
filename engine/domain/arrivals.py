"""The estimated arrival of a job's technician, as a part of their position."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.events import ms_of, rfc3339_of
from engine.rules.distances import distance_m
from engine.rules.travel import Place, estimate_arrival, remaining_model
from engine.rules.zone_areas import timezone_of
from engine.types import TechnicianId, Zone

if TYPE_CHECKING:
    from engine.domain.positions import JobPosition
    from engine.runtime import Engine


def with_arrival(
    engine: Engine,
    position: JobPosition,
    blueprint: Blueprint,
    zone: Zone,
    state: str,
    place: Place,
    *,
    arrived: bool,
) -> JobPosition:
    """Return the position of a job in ``state`` with the estimated arrival at ``place`` (latitude, longitude). A stale
    position, and one of a technician who is not on the way, is returned unchanged.
    """
    if position.stale or not blueprint.is_on_the_way(state):
        return position
    now, distance = now_ms(), distance_m(position.lat, position.lon, *place)
    at = min(ms_of(position.at), now)  # the clock of Redis may be ahead of this host's
    timezone = timezone_of(engine.settings.zone_areas, zone)
    model, here = remaining_model(zone, at, timezone, place), (position.lat, position.lon)
    model = model if arrived else engine.road_times.model_by_road(model, here, place, at)
    estimate = estimate_arrival(model, distance, at, now, arrived=arrived)
    times = {name: rfc3339_of(getattr(estimate, name)) for name in ("arrives_at", "low", "high")}
    return msgspec.structs.replace(position, eta_s=estimate.eta_s, source=estimate.source, **times)


async def read_arrival(
    engine: Engine,
    position: JobPosition,
    blueprint: Blueprint,
    zone: Zone,
    state: str,
    holder: TechnicianId,
    record: list[bytes | None],
) -> JobPosition:
    """Return the position with the estimated arrival. A router is asked first. ``record`` are the job's fields ``lat
    lon arrival``.
    """
    lat, lon, arrival = record
    if not lat or not lon:
        return position
    place = (float(lat), float(lon))
    arrived = (arrival or b"").split()[:2] == [holder.encode(), b"there"]  # packed by lua/lib/arrival.lua
    if not (position.stale or arrived) and blueprint.is_on_the_way(state):
        await engine.road_times.ask_for([(position.lat, position.lon)], [place], ms_of(position.at))
    return with_arrival(engine, position, blueprint, zone, state, place, arrived=arrived)
