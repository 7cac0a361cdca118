"""What ``callout doctor`` shows of the acknowledgement level: what an acknowledged command survives."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from engine.process.settings import Settings

if TYPE_CHECKING:
    from redis.asyncio import Redis

    from engine.sql.database import Archive


async def durability_facts(settings: Settings, primaries: Iterable[Redis], archive: Archive | None) -> dict[str, Any]:
    """Return the acknowledgement level, and the facts about SQL and the primaries of Redis that provide or weaken it.
    Facts that contradict the level are listed as problems of Redis and of the database.
    """
    from engine.store.server_checks import server_level_report

    reports = [archive.commit_settings.report] if archive else []
    for primary in primaries:
        reports.append(await server_level_report(primary, settings.durability, settings.replicas or 0))
    facts: dict[str, Any] = {"level": settings.durability}
    for name, texts in (("checked", [r.checks for r in reports]), ("warning", [r.warnings for r in reports])):
        if text := ", ".join(dict.fromkeys(each for some in texts for each in some)):
            facts[name] = text
    return facts
