"""The learnt travel times of zones in SQL, and the finished journeys from which they are learnt. All functions raise
Unavailable.
"""

from __future__ import annotations

from typing import NamedTuple

import msgspec
import structlog
from sqlalchemy import Row, literal, select, update

from engine.rules.paths import PathPoint
from engine.rules.travel_learning import ZoneTimes
from engine.rules.travel_quality import ZoneQuality
from engine.sql.database import Archive
from engine.sql.insert import insert_into
from engine.sql.path_tables import job_paths
from engine.sql.schema import events, jobs
from engine.sql.travel_tables import travel_times
from engine.types import Zone

_points_decoder = msgspec.json.Decoder(list[PathPoint])
_columns = travel_times.c

log = structlog.get_logger(__name__)


class JourneyDocument(msgspec.Struct, frozen=True):
    """The members of a job's document that a journey needs: the place, the times of its states, and the promise."""

    blueprint: str
    lat: float
    lon: float
    at: dict[str, str] = {}
    promise: str | None = None


class StoredJourney(NamedTuple):
    """A job with the path of its last holder. ``arrived_at`` is the time of ``technician.arrived`` (ms); None without
    it.
    """

    job: JourneyDocument
    path: list[PathPoint]
    arrived_at: int | None


_document_decoder = msgspec.json.Decoder(JourneyDocument)


async def take_learning(archive: Archive, zone: Zone, now: int, next_at: int) -> bool:
    """Return whether the travel times of the zone must be learnt at ``now`` (ms since the Unix epoch), and set the next
    time to ``next_at``. Of several processes only one gets True, so that the work is done once.
    """
    async with archive.begin_write() as conn:
        new = insert_into(archive, travel_times).values(zone=zone, due_at=0, times="{}", quality="{}")
        await conn.execute(new.on_conflict_do_nothing())
        taken = update(travel_times).where(_columns.zone == zone, _columns.due_at <= now).values(due_at=next_at)
        return (await conn.execute(taken)).rowcount == 1


async def read_times(archive: Archive) -> dict[Zone, ZoneTimes]:
    """Return the learnt times of each zone. A row that a newer release wrote in an unknown format is left out."""
    async with archive.begin_read() as conn:
        rows = (await conn.execute(select(_columns.zone, _columns.times))).all()
    found = {}
    for row in rows:
        try:
            found[Zone(row.zone)] = msgspec.json.decode(row.times, type=ZoneTimes)
        except msgspec.DecodeError as error:
            log.warning("travel_times_unreadable", zone=row.zone, error=str(error))
    return found


async def read_quality(archive: Archive, zone: Zone) -> ZoneQuality:
    """Return the counts of the zone's predictions; empty ones if nothing is stored."""
    async with archive.begin_read() as conn:
        text = (await conn.execute(select(_columns.quality).where(_columns.zone == zone))).scalar()
    return msgspec.json.decode(text or "{}", type=ZoneQuality)


async def store_quality(
    archive: Archive, zone: Zone, counted_to: int, quality: ZoneQuality, times: ZoneTimes | None
) -> bool:
    """Store the counts, and the times if they were learnt again. If the stored counts do not end at ``counted_to``
    (ms), another process has counted meanwhile: then store nothing and return False.
    """
    values = {"quality": msgspec.json.encode(quality).decode()}
    if times is not None:
        values["times"] = msgspec.json.encode(times).decode()
    async with archive.begin_write() as conn:
        query = select(_columns.quality).where(_columns.zone == zone)
        text = (await conn.execute(query if archive.is_sqlite else query.with_for_update())).scalar()
        if msgspec.json.decode(text or "{}", type=ZoneQuality).counted_to != counted_to:
            return False
        await conn.execute(update(travel_times).where(_columns.zone == zone).values(**values))
    return True


async def read_journeys(archive: Archive, zone: Zone, since: int, limit: int) -> list[StoredJourney]:
    """Return the latest ``limit`` jobs of the zone whose path has a point after ``since`` (ms), the earliest first."""
    holder = literal("technician:") + job_paths.c.technician
    is_arrival = (events.c.job == jobs.c.id) & (events.c.type == "technician.arrived") & (events.c.actor == holder)
    query = (
        select(jobs.c.doc, job_paths.c.points, events.c.at)
        .select_from(job_paths)
        .join(jobs, (jobs.c.id == job_paths.c.job) & (jobs.c.technician == job_paths.c.technician))
        .outerjoin(events, is_arrival)
        .where(jobs.c.zone == zone, job_paths.c.last_at > since)
        .order_by(job_paths.c.last_at.desc())
        .limit(limit)
    )
    async with archive.begin_read() as conn:
        rows = (await conn.execute(query)).all()
    return [found for row in reversed(rows) if (found := _decode_journey(row)) is not None]


def _decode_journey(row: Row[tuple[str, str, int]]) -> StoredJourney | None:
    """Return the job and its path; None for a job that an erasure has emptied."""
    try:
        return StoredJourney(_document_decoder.decode(row.doc), _points_decoder.decode(row.points), row.at)
    except msgspec.DecodeError:
        return None
