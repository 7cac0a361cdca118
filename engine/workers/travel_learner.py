"""The travel learner: count how accurate the predicted arrivals of finished journeys were, then learn travel times from
these journeys.

A journey is complete when its technician has arrived and the archiver has moved its path to SQL. Every process loads
the learnt times of all zones once a minute (``reload_forever``).
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from engine.archive import travel as stored
from engine.archive.travel import StoredJourney
from engine.clock import now_ms
from engine.errors import CalloutError
from engine.events import ms_of
from engine.process.loops import not_cancelled
from engine.rules import travel
from engine.rules.travel import Place, TravelModel
from engine.rules.travel_learning import MAX_JOURNEYS, ZoneTimes, learn_zone_times
from engine.rules.travel_quality import ZoneQuality, predict_left
from engine.rules.travel_rides import ArrivedRide, journey_of, points_of, ride_of_path
from engine.rules.zone_areas import timezone_of
from engine.types import Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

CHECK_INTERVAL_S = 60.0
LEARN_INTERVAL_MS = 900_000
SETTLED_MS = 900_000
"""This long after an arrival, the path of the journey is in SQL: it stays in Redis for ten minutes (lua/lib/path.lua),
and the archiver needs a while.
"""
MAX_COUNTED = 2_000
"""The most journeys that are read at once to be counted. If more have ended, the latest are counted."""
MIN_NEW_SHARE = 0.05
"""Times are learnt again when the new journeys are at least this share of those from which the present times were
learnt. A fit of ``MAX_JOURNEYS`` journeys takes three seconds of a core."""

log = structlog.get_logger(__name__)


async def run(engine: Engine) -> None:
    """Count and learn for every zone of this process that is due, until cancelled. Retries after failures of SQL."""
    while not_cancelled():
        for zone in engine.settings.zones:
            try:
                now = now_ms()
                if await stored.take_learning(engine.archive, zone, now, now + LEARN_INTERVAL_MS):
                    await learn_zone(engine, zone, now)
            except CalloutError as error:
                log.info("travel_learner_waits", zone=zone, error=str(error))
            except Exception:  # a task boundary
                log.exception("travel_learner_failed", zone=zone)
        await asyncio.sleep(CHECK_INTERVAL_S)


async def reload_forever(engine: Engine) -> None:
    """Load the learnt times of all zones into this process at once and then every minute, until cancelled."""
    while not_cancelled():
        try:
            await reload(engine)
        except CalloutError as error:
            log.info("travel_times_wait", error=str(error))
        await asyncio.sleep(CHECK_INTERVAL_S)


async def reload(engine: Engine) -> None:
    """Load the learnt times of all zones into this process. Raises Unavailable."""
    travel.use_times(await stored.read_times(engine.archive))


async def learn_zone(engine: Engine, zone: Zone, now: int, settled_ms: int = SETTLED_MS) -> int:
    """Count the journeys of the zone that have ended since the last time, up to ``settled_ms`` before ``now`` (ms since
    the Unix epoch), and learn from them if there are enough. Return the number of counted journeys. Raises Unavailable.
    """
    quality = await stored.read_quality(engine.archive, zone)
    counted_to, until = quality.counted_to, now - settled_ms
    timezone = timezone_of(engine.settings.zone_areas, zone)
    # The last point may be a little older than the arrival, if the technician gave the command between two points.
    recent = await stored.read_journeys(engine.archive, zone, counted_to - settled_ms, MAX_COUNTED)
    new = [ride for ride in _rides(engine, recent) if counted_to < ride.arrived <= until]
    times = (await stored.read_times(engine.archive)).get(zone, ZoneTimes())
    _count(quality, times, timezone, new)
    quality.counted_to = max(counted_to, until)
    quality.drop_old_days(now)
    known = times.journeys.journeys if times.journeys else 0
    learnt = None
    if new and quality.rides_since >= MIN_NEW_SHARE * known:
        learnt = await _learn(engine, zone, timezone, until)
        quality.rides_since = 0 if learnt.journeys else quality.rides_since
    if await stored.store_quality(engine.archive, zone, counted_to, quality, learnt) and learnt is not None:
        await reload(engine)
    return len(new)


def _count(quality: ZoneQuality, times: ZoneTimes, timezone: str, rides: list[ArrivedRide]) -> None:
    """Count how accurate the predictions for these journeys are. ``times`` were learnt before the journeys ended."""

    def model_at(at: int, place: Place) -> TravelModel:
        return travel.remaining_model_of(times, at, timezone, place)

    for ride in rides:
        quality.count(ride, predict_left(ride, model_at) if ride.is_plausible else ())


async def _learn(engine: Engine, zone: Zone, timezone: str, until: int) -> ZoneTimes:
    """Learn from the latest journeys up to ``until``. The fit runs in a thread, beside the event loop."""
    found = await stored.read_journeys(engine.archive, zone, 0, MAX_JOURNEYS)

    def fit() -> ZoneTimes:
        rides = [ride for ride in _rides(engine, found) if ride.arrived <= until and ride.is_plausible]
        return learn_zone_times([(journey_of(ride, timezone), points_of(ride, timezone)) for ride in rides])

    return await asyncio.to_thread(fit)


def _rides(engine: Engine, found: list[StoredJourney]) -> list[ArrivedRide]:
    """Return the journeys of jobs whose technician has arrived."""
    rides = (_ride_of(engine, journey) for journey in found)
    return [ride for ride in rides if ride is not None]


def _ride_of(engine: Engine, found: StoredJourney) -> ArrivedRide | None:
    """Return the journey of a job; None if it has no end, or if this process does not know the job's blueprint."""
    job, blueprint = found.job, engine.blueprints.by_name.get(found.job.blueprint)
    if blueprint is None or not found.path:
        return None
    began = found.path[0].at
    later = (
        ms_of(at) for state, at in job.at.items() if state in blueprint.states and not blueprint.is_on_the_way(state)
    )
    next_state_at = min((at for at in later if at > began), default=None)
    promise = ms_of(job.promise) if job.promise else None
    return ride_of_path(found.path, (job.lat, job.lon), found.arrived_at, next_state_at, promise)
