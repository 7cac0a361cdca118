"""The estimated arrival of a technician who is on the way to a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.clock import now_ms
from engine.events import rfc3339_of
from engine.rules.distances import distance_m
from engine.rules.travel import Place, estimate_arrival, remaining_model
from engine.rules.zone_areas import timezone_of
from engine.types import Zone

if TYPE_CHECKING:
    from engine.runtime import Engine


def arrival_members(
    engine: Engine, zone: Zone, here: Place, measured_at: int, place: Place, *, arrived: bool
) -> dict[str, Any]:
    """Return the members of a position about the arrival (``eta_s arrives_at low high source``), for a fix ``here``
    that was measured at ``measured_at`` (ms). ``arrived`` is whether the technician has arrived at ``place``.
    """
    now = now_ms()
    at = min(measured_at, now)  # Redis' clock may be ahead of this host's
    model = remaining_model(zone, at, timezone_of(engine.settings.zone_areas, zone), place)
    if not arrived:
        model = engine.road_times.model_by_road(model, here, place, at)
    estimate = estimate_arrival(model, distance_m(*here, *place), at, now, arrived=arrived)
    times = {name: rfc3339_of(getattr(estimate, name)) for name in ("arrives_at", "low", "high")}
    return {"eta_s": estimate.eta_s, "source": estimate.source, **times}
