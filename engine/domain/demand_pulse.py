"""The pulse of areas in Redis. The chore of demand writes it; prices and lists read it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from engine.domain.zone_map import load_cells
from engine.rules.pulse import LEAST_SAMPLE, AreaKind, AreaPulse, cell_at, lineage_of
from engine.store import keys
from engine.store.scripts import Args
from engine.types import Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

TTL_MS = 7_200_000
"""How long a pulse stays in Redis if nobody does the chore."""
MAX_AGE_MS = 300_000
"""Prices ignore an older pulse, because it may no longer be true."""
AREAS_PER_CALL = 256
"""How many areas one call of the script writes, so that it takes Redis less than a millisecond."""

_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(AreaPulse)


class ChangedArea(msgspec.Struct, frozen=True):
    """An area of which at least one of the members below has changed. ``expected`` is how many requests the next hour
    will bring; ``multiplier`` is in per mille.
    """

    area: str
    score: float
    waiting: int
    free: int
    expected: float
    multiplier: int


class PublishedDemand(msgspec.Struct, frozen=True, tag_field="kind", tag="demand"):
    """The areas of a zone that changed in the last minute, as the script publishes them. ``as_of`` is in RFC 3339."""

    by: AreaKind
    items: list[ChangedArea]
    as_of: str


class FoundPulse(NamedTuple):
    """The pulse of a place. ``area`` is the area that was found: the place's own, or a parent of it. ``as_of`` is in ms
    since the Unix epoch.
    """

    kind: AreaKind
    area: str
    pulse: AreaPulse
    as_of: int


async def read_place_pulse(
    engine: Engine, zone: Zone, lat: float, lon: float, *, max_age_ms: int = MAX_AGE_MS
) -> FoundPulse | None:
    """Return the pulse of the cell at a position, or of its first parent with enough requests. None if there is no
    pulse, or only one older than ``max_age_ms`` by the zone's clock. Raises the same errors as ``Store.command``.
    """
    await load_cells()
    return await read_area_pulse(engine, zone, "cell", cell_at(lat, lon), max_age_ms=max_age_ms)


async def read_area_pulse(
    engine: Engine, zone: Zone, kind: AreaKind, area: str, *, max_age_ms: int = MAX_AGE_MS
) -> FoundPulse | None:
    """Return the pulse of an area by its name, as ``read_place_pulse`` does."""
    names = lineage_of(area) if kind == "cell" else (area,)
    as_of, *rows = await engine.store.command("HMGET", keys.demand_pulse(zone, kind), "", *names)
    if as_of is None or await _now_ms(engine, zone) - int(as_of) > max_age_ms:
        return None
    found = {name: _decoder.decode(row) for name, row in zip(names, rows, strict=True) if row is not None}
    if not found:
        return None
    name = next((each for each in found if found[each].sample >= LEAST_SAMPLE), [*found][-1])
    return FoundPulse(kind, name, found[name], int(as_of))


async def read_pulses(engine: Engine, zone: Zone, kind: AreaKind) -> tuple[dict[str, AreaPulse], int]:
    """Return the pulse of each area of a zone, and the time of the data (``as_of``, ms); no areas and 0 if there is no
    pulse. Raises the same errors as ``Store.command``.
    """
    rows: list[bytes] = await engine.store.command("HGETALL", keys.demand_pulse(zone, kind))
    pairs = dict(zip(rows[::2], rows[1::2], strict=True))
    as_of = int(pairs.pop(b"", 0))
    return {area.decode(): _decoder.decode(row) for area, row in pairs.items()}, as_of


def encode_pulse(pulse: AreaPulse) -> bytes:
    """Return the JSON of an area's pulse."""
    return _encoder.encode(pulse)


async def store_pulses(
    engine: Engine, zone: Zone, kind: AreaKind, pulses: Mapping[str, bytes], as_of: int, notice: bytes = b""
) -> None:
    """Store the JSON of areas whose pulse changed, and ``as_of`` (ms), which then holds for all areas. If a later pulse
    is stored, nothing changes. ``notice`` is published with the last areas. Raises the same errors as ``Store.run``.
    """
    names = {"meta": keys.zone_meta(zone), "pulse": keys.demand_pulse(zone, kind)}
    pairs = list(pulses.items())
    for start in range(0, max(1, len(pairs)), AREAS_PER_CALL):
        areas: Sequence[str | bytes] = [text for pair in pairs[start : start + AREAS_PER_CALL] for text in pair]
        is_last = start + AREAS_PER_CALL >= len(pairs)
        args: Args = {"as_of": as_of, "ttl_ms": TTL_MS, "notice": notice if is_last else b"", "areas": areas}
        await engine.store.run(zone, "pulse_put", keys=names, args=args)


async def _now_ms(engine: Engine, zone: Zone) -> int:
    """Return the time of the zone's clock (ms). Each script updates it, and a timer does so once a second."""
    return int(await engine.store.command("HGET", keys.zone_meta(zone), "now") or 0)
