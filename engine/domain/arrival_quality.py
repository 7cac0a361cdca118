"""Read how well a zone's predicted arrivals were kept. Only finished jobs in SQL are counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.archive import travel as stored
from engine.errors import NotFound
from engine.events import rfc3339_of
from engine.rules.travel_quality import KEPT_DAYS, LEFT_NAMES, LeftCounts
from engine.types import Zone

if TYPE_CHECKING:
    from engine.runtime import Engine


class PublishedKept(msgspec.Struct, frozen=True):
    """The number of promised arrivals and the share of them that was kept; the share is None without a promise."""

    share: float | None
    sample: int


class PublishedErrors(msgspec.Struct, frozen=True):
    """The errors of predictions that were made with a certain time left until the arrival (one of ``LEFT_NAMES``)."""

    left: str
    median_s: float | None
    within_2_min: float | None
    sample: int


class PublishedQuality(msgspec.Struct, frozen=True):
    """The published figures of a zone. ``as_of`` is the time up to which journeys are counted; None before the first
    count. ``learned_from`` is the number of journeys from which the present travel times were learnt.
    """

    zone: Zone
    as_of: str | None
    days: int
    sample: int
    learned_from: int
    kept: PublishedKept
    errors: tuple[PublishedErrors, ...]


async def read_quality(engine: Engine, zone: Zone) -> PublishedQuality:
    """Return the published quality of a zone. Raises NotFound for an unknown zone, Unavailable without the database."""
    if zone not in engine.settings.all_zones:
        raise NotFound("No such zone")
    quality = await stored.read_quality(engine.archive, zone)
    learnt = (await stored.read_times(engine.archive)).get(zone)
    whole = quality.total()
    return PublishedQuality(
        zone,
        rfc3339_of(quality.counted_to) if quality.counted_to else None,
        KEPT_DAYS,
        whole.rides,
        learnt.journeys.journeys if learnt and learnt.journeys else 0,
        PublishedKept(_share(whole.kept, whole.promised), whole.promised),
        tuple(_errors(left, counts) for left, counts in zip(LEFT_NAMES, whole.left, strict=True)),
    )


def _errors(left: str, counts: LeftCounts) -> PublishedErrors:
    return PublishedErrors(left, counts.median_s(), _share(counts.close, counts.predicted), counts.predicted)


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None
