"""Travel times between many places: those of a router if it replies in time, otherwise the learnt ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

from engine.rules.distances import distance_m
from engine.rules.travel import Place, travel_model
from engine.rules.zone_areas import timezone_of
from engine.types import Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

LEARNED = "learned"


class TravelTable(NamedTuple):
    """The likely seconds from each origin (row) to each destination (column). ``source`` is the router (``osrm`` or
    ``valhalla``) if it gave the times of all pairs that are not near, or else ``learned``.
    """

    seconds: list[list[float]]
    source: str


async def travel_table(
    engine: Engine, zone: Zone, origins: Sequence[Place], destinations: Sequence[Place], at: int
) -> TravelTable:
    """Return the likely travel times between all places for journeys that begin at ``at`` (ms since the Unix epoch):
    those of the router if there is one and it replies in time, otherwise the learnt ones.
    """
    timezone = timezone_of(engine.settings.zone_areas, zone)
    by_road = await engine.road_times.ask_for(origins, destinations, at)

    def seconds(origin: Place, destination: Place) -> tuple[float, str]:
        model = travel_model(zone, at, timezone, origin, destination)
        model = engine.road_times.model_by_road(model, origin, destination, at) if by_road else model
        return model.travel_time_s(distance_m(*origin, *destination)), model.source

    found = [[seconds(origin, destination) for destination in destinations] for origin in origins]
    sources = {source for row in found for _, source in row} - {LEARNED}
    return TravelTable([[time for time, _ in row] for row in found], sources.pop() if sources else LEARNED)
