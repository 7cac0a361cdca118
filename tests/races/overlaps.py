"""The checker of schedules with the travel times of a zone, for the events of its log."""

from __future__ import annotations

import msgspec

from engine.events import Event
from engine.rules.travel import travel_model
from engine.types import DEFAULT_ZONE
from server.simulation.overlap_checker import Change, OverlapChecker

BUFFER_MS = 900_000


def travel_s(moment: int, metres: float) -> float:
    """Return the time (s) that four of five journeys of the zone do not exceed, for journeys that begin at ``moment``
    (ms).
    """
    model = travel_model(DEFAULT_ZONE, moment, "UTC")
    return model.travel_time_s(metres) * model.high


def zone_checker() -> OverlapChecker:
    """Return a new checker, without events."""
    return OverlapChecker(travel_s, BUFFER_MS)


def change_of(event: Event) -> Change:
    """Return the members of an event that the checker needs."""
    return Change(event.at, event.seq, msgspec.json.decode(event.data))
