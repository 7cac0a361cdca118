"""Compare the map's index of people with the records, written independently of lua/lib/map_index.lua."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from engine.domain.zone_map import MARGIN_DEGREES
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE

HOUR_MS = 3_600_000
GEO_ERROR = 0.00001
"""A geo index rounds positions by up to this many degrees."""


async def check_person(engine: Engine, who: str, tech: Mapping[str, str], now_ms: int) -> None:
    """Assert that the map's index has a technician whose last position is less than an hour old, at most half a cell
    from that position.
    """
    if not tech.get("lat") or now_ms - int(tech["fix_at"]) >= HOUR_MS:
        return
    (entry,) = await engine.store.command("GEOPOS", keys.map_people(DEFAULT_ZONE), who)
    assert entry, f"{who} is not on the map"
    assert abs(float(entry[1]) - float(tech["lat"])) <= MARGIN_DEGREES + GEO_ERROR, (who, entry, tech)
    assert abs(float(entry[0]) - float(tech["lon"])) <= MARGIN_DEGREES + GEO_ERROR, (who, entry, tech)


async def check_people(engine: Engine) -> None:
    """Assert that the map's index has all technicians of the zone near their last position (``check_person``)."""
    command = engine.store.command
    names = [name async for name in engine.store.redis.scan_iter(f"{{{DEFAULT_ZONE}}}:tech:*", _type="hash")]
    now, *rows = await asyncio.gather(
        command("HGET", keys.zone_meta(DEFAULT_ZONE), "now"), *(command("HGETALL", name.decode()) for name in names)
    )
    for row in rows:
        tech = {name.decode(): value.decode() for name, value in zip(row[::2], row[1::2], strict=True)}
        await check_person(engine, tech.get("id", ""), tech, int(now or 0))
