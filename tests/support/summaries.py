"""The expected summary of a technician's record, written independently of lua/lib/summaries.lua."""

from __future__ import annotations

from collections.abc import Mapping

from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, TechnicianId, UserId


def expected_summary(tech: Mapping[str, str]) -> str | None:
    """Return the expected summary of a technician's record, or None for a technician who is in no supply index."""
    if not tech.get("indexed"):
        return None
    accuracy = tech["acc"] if tech["acc"] not in ("", "-") else "0"
    position = f"{tech['lat']} {tech['lon']} {float(tech['fix_at']):.0f} {max(0.0, float(accuracy) - 100):g}"
    workload = int(tech["load"]) / int(tech["capacity"])
    return f"{position} {tech['rating']} {workload:.17g} :{tech['services'].replace(' ', ':')}:"


async def check_summaries(engine: Engine) -> None:
    """Assert that each summary has the same values as the technician's record, and that the technician is in a supply
    index.
    """
    summaries = await engine.store.redis.hgetall(keys.technician_summaries(DEFAULT_ZONE))
    for who, summary in summaries.items():
        key = keys.technician(DEFAULT_ZONE, TechnicianId(UserId(who.decode())))
        row = await engine.store.redis.hgetall(key)
        assert summary.decode() == expected_summary({name.decode(): value.decode() for name, value in row.items()})
