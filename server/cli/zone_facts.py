"""What ``callout doctor`` shows of the zones: which are declared, and what belongs to zones that are not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.process.settings import Settings

if TYPE_CHECKING:
    from engine.sql.database import Archive


async def zone_facts(settings: Settings, archive: Archive | None) -> tuple[dict[str, Any], list[str]]:
    """Return the zones, and the problems: unfinished jobs and technicians of zones that are not declared. No process
    serves such a zone: its jobs are not found, and its technicians receive no offers. Raises Unavailable.
    """
    known = settings.all_zones
    facts: dict[str, Any] = {"declared": " ".join(known), "served": " ".join(dict.fromkeys((*settings.zones, "main")))}
    if archive is None:
        return facts, []
    from sqlalchemy import func, select

    from engine.domain.job_queries import LIVE_PHASES
    from engine.sql.schema import jobs, technicians

    unfinished = select(jobs.c.zone, func.count()).where(jobs.c.zone.not_in(known), jobs.c.phase.in_(LIVE_PHASES))
    lost = select(technicians.c.zone, func.count()).where(technicians.c.zone.not_in(known))
    problems = []
    async with archive.begin_read() as conn:
        for noun, query, zone in (
            ("unfinished jobs", unfinished, jobs.c.zone),
            ("technicians", lost, technicians.c.zone),
        ):
            rows = await conn.execute(query.group_by(zone).order_by(zone))
            problems += [f"zone {name} is not declared and has {count} {noun}" for name, count in rows.tuples()]
    return facts, problems
