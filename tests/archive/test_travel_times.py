"""Travel times are learnt from finished jobs in SQL, after the accuracy of the predictions was counted. On both
databases.
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert, update

from engine.archive import travel as stored
from engine.clock import now_ms
from engine.domain import arrival_quality
from engine.domain import jobs as jobs_domain
from engine.domain.commands import CommandInput
from engine.errors import NotFound
from engine.events import ms_of, rfc3339_of
from engine.rules import travel
from engine.rules.travel import remaining_model, travel_model
from engine.runtime import Engine
from engine.sql.path_tables import job_paths
from engine.sql.schema import jobs
from engine.sql.travel_tables import travel_times
from engine.types import DEFAULT_ZONE, Zone
from engine.workers import archiver, position_archive, travel_learner
from tests.support import event_log, people
from tests.support.trips import start_trip

NOW = ms_of("2026-11-30T12:00:00.000Z")
HOUR_MS = 3_600_000
LAT, LON = people.HERE.lat, people.HERE.lon


@pytest.fixture(autouse=True)
def unlearnt() -> Iterator[None]:
    """Delete the travel times that the test has learnt from this process."""
    yield
    travel.use_times({})


async def store_jobs(
    engine: Engine, count: int, until: int = NOW - HOUR_MS, *, seed: int = 1, zone: str = "main"
) -> None:
    """Store finished jobs with their paths, one in two minutes until `until`. 1 km takes 300 s, and every journey has a
    promise, which it keeps if it is not slower than usual.
    """
    draw = random.Random(seed)
    docs, paths = [], []
    for at in range(count):
        km = draw.uniform(0.5, 6)
        seconds = 300 * km**0.7 * math.exp(draw.gauss(0, 0.2))
        arrived = until - (count - 1 - at) * 120_000
        began, north = arrived - round(seconds * 1000), km / 111.2
        points = [[LAT + north * (4 - part) / 4, LON, began + (arrived - began) * part // 4] for part in range(5)]
        job = f"job_{zone}_{seed}_{at}"
        document = {
            "id": job, "blueprint": "home_service", "lat": LAT, "lon": LON,
            "at": {"accepted": rfc3339_of(began - 60_000), "on_the_way": rfc3339_of(began),
                   "arrived": rfc3339_of(arrived + 30_000)},
            "promise": rfc3339_of(began + round(300 * km**0.7 * 1000)),
        }  # fmt: skip
        docs.append({"id": job, "zone": zone, "blueprint": "home_service", "status": "done", "phase": "done",
                     "version": 9, "customer": "usr_c", "technician": "usr_t", "service": "svc", "created_at": began,
                     "updated_at": arrived, "hot": False, "doc": json.dumps(document)})  # fmt: skip
        paths.append({"job": job, "technician": "usr_t", "last_at": arrived, "points": json.dumps(points)})
    async with engine.archive.begin_write() as conn:
        await conn.execute(insert(jobs), docs)
        await conn.execute(insert(job_paths), paths)


async def learn(engine: Engine, now: int = NOW) -> int:
    """Let the zone learn once. Return how many journeys were counted."""
    assert await stored.take_learning(engine.archive, DEFAULT_ZONE, now, now + 1)
    return await travel_learner.learn_zone(engine, DEFAULT_ZONE, now)


async def test_a_zone_learns_from_its_finished_jobs(engine: Engine) -> None:
    """With 250 finished journeys a zone has travel times of its own, for whole journeys and for the rest of a journey.
    Another process uses them after it has loaded them. Other zones still have the times of the cold start.
    """
    await store_jobs(engine, 250)
    assert await learn(engine) == 250
    for _ in range(2):
        model = travel_model(DEFAULT_ZONE, NOW, "UTC")
        assert model.travel_time_s(3000) == pytest.approx(300 * 3**0.7, rel=0.1)
        assert 1.1 < model.high < 1.3
        rest = remaining_model(DEFAULT_ZONE, NOW, "UTC")
        assert rest.travel_time_s(1000) < model.travel_time_s(1000), "on the way nothing has to start"
        assert travel_model(Zone("north"), NOW, "UTC").seconds_per_km == 150
        travel.use_times({})
        assert travel_model(DEFAULT_ZONE, NOW, "UTC").seconds_per_km == 150
        await travel_learner.reload(engine)


async def test_a_journey_that_was_driven_is_counted(engine: Engine) -> None:
    """A journey of a real job is counted from its rows in SQL: its path, its times and its promise."""
    trip = await start_trip(engine)
    for north in (2900, 2000, 1200, 500, 20, 10, 5, 5):
        await trip.send_fix(north, every_s=60)
    await jobs_domain.run_command(engine, trip.driver, trip.job, CommandInput(command="arrive"))
    await archiver.run_once(engine)
    await position_archive.move_paths(engine, DEFAULT_ZONE, all_paths=True)
    assert await learn(engine, now_ms() + HOUR_MS) == 1
    quality = (await stored.read_quality(engine.archive, DEFAULT_ZONE)).total()
    assert (quality.rides, quality.promised, quality.kept) == (1, 1, 1)
    assert sum(left.predicted for left in quality.left) >= 1
    (found,) = await stored.read_journeys(engine.archive, DEFAULT_ZONE, 0, 10)
    (arrived,) = await event_log.events(engine, "technician.arrived", trip.job)
    assert found.arrived_at == arrived.at < found.path[-1].at + 1


async def test_few_journeys_are_counted_and_teach_nothing(engine: Engine) -> None:
    """With 199 journeys the zone still has the times of the cold start. With one more it learns, also from the earlier
    journeys.
    """
    await store_jobs(engine, 199)
    assert await learn(engine) == 199
    assert travel_model(DEFAULT_ZONE, NOW, "UTC").seconds_per_km == 150
    await store_jobs(engine, 1, NOW, seed=2)
    assert await learn(engine, NOW + HOUR_MS) == 1
    assert travel_model(DEFAULT_ZONE, NOW, "UTC").seconds_per_km > 250


async def test_each_journey_is_counted_once_before_it_is_learnt(engine: Engine) -> None:
    """A journey is counted once, with the travel times that were known before it, even if several processes count. A
    journey that ended less than a quarter of an hour ago is counted later, because its path may not be complete.
    """
    await store_jobs(engine, 250)
    await store_jobs(engine, 3, NOW - 60_000, seed=2)
    assert await learn(engine) == 250
    quality = (await stored.read_quality(engine.archive, DEFAULT_ZONE)).total()
    assert (quality.rides, quality.promised) == (250, 250) and 0.4 < quality.kept / 250 < 0.6
    before = quality.left[0].median_s()
    assert await learn(engine, NOW + 100) == 0
    assert await learn(engine, NOW + HOUR_MS) == 3
    await store_jobs(engine, 250, NOW + 10 * HOUR_MS, seed=3)
    assert await learn(engine, NOW + 11 * HOUR_MS) == 250
    quality = (await stored.read_quality(engine.archive, DEFAULT_ZONE)).total()
    assert quality.rides == 503
    after = quality.left[0].median_s()
    assert before is not None and after is not None and after < before, "the learnt times are better"


async def test_the_quality_is_published(engine: Engine) -> None:
    """The published quality contains the share of kept promises, the errors by the time that was left, and the sample,
    up to the time of the count. An unknown zone is refused.
    """
    empty = await arrival_quality.read_quality(engine, DEFAULT_ZONE)
    assert (empty.as_of, empty.sample, empty.kept.share, empty.errors[0].median_s) == (None, 0, None, None)
    await store_jobs(engine, 250)
    await learn(engine)
    await store_jobs(engine, 250, NOW + 10 * HOUR_MS, seed=3)
    await learn(engine, NOW + 11 * HOUR_MS)
    found = await arrival_quality.read_quality(engine, DEFAULT_ZONE)
    assert found.as_of == rfc3339_of(NOW + 11 * HOUR_MS - travel_learner.SETTLED_MS)
    assert (found.sample, found.learned_from, found.kept.sample) == (500, 500, 500)
    assert found.kept.share is not None and 0.4 < found.kept.share < 0.6
    near, *_ = found.errors
    assert near.left == "under_5_min" and near.within_2_min is not None and near.within_2_min > 0.8
    assert near.median_s is not None and 0 < near.median_s < 120
    with pytest.raises(NotFound):
        await arrival_quality.read_quality(engine, Zone("north"))


async def test_of_two_processes_one_learns(engine: Engine) -> None:
    """Of several processes only one learns for the zone. If two count at the same time nevertheless, only the first
    result is stored.
    """
    turns = [await stored.take_learning(engine.archive, DEFAULT_ZONE, NOW, NOW + 60_000) for _ in range(3)]
    assert turns == [True, False, False]
    assert await stored.take_learning(engine.archive, DEFAULT_ZONE, NOW + 60_000, NOW + 120_000)
    quality = await stored.read_quality(engine.archive, DEFAULT_ZONE)
    quality.counted_to = NOW
    assert await stored.store_quality(engine.archive, DEFAULT_ZONE, 0, quality, None)
    assert not await stored.store_quality(engine.archive, DEFAULT_ZONE, 0, quality, None)


async def test_a_job_without_an_end_or_a_known_blueprint_is_no_journey(engine: Engine) -> None:
    """Jobs whose technician has not arrived, whose blueprint is unknown here, whose path is empty or whose document was
    emptied by an erasure are left out, and do no harm.
    """
    await store_jobs(engine, 5)
    changes = {
        0: (jobs, jobs.c.id, {"doc": json.dumps({"blueprint": "other", "lat": LAT, "lon": LON})}),
        1: (jobs, jobs.c.id, {"doc": "{}"}),
        2: (job_paths, job_paths.c.job, {"points": "[]"}),
        3: (job_paths, job_paths.c.job, {"points": json.dumps([[LAT + 0.1, LON, NOW - HOUR_MS]])}),
    }
    async with engine.archive.begin_write() as conn:
        for at, (table, key, values) in changes.items():
            await conn.execute(update(table).where(key == f"job_main_1_{at}").values(**values))
    assert await learn(engine) == 1


async def test_times_of_a_newer_release_are_left_out(engine: Engine) -> None:
    """A zone whose stored times cannot be read has the times of the cold start; the other zones have their own."""
    async with engine.archive.begin_write() as conn:
        rows = [{"zone": zone, "due_at": 0, "times": text, "quality": "{}"}
                for zone, text in (("main", '{"journeys":7}'), ("north", "{}"))]  # fmt: skip
        await conn.execute(insert(travel_times), rows)
    assert (await stored.read_times(engine.archive)).keys() == {"north"}
    await travel_learner.reload(engine)
    assert travel_model(DEFAULT_ZONE, NOW, "UTC").seconds_per_km == 150


async def test_old_days_are_not_published(engine: Engine) -> None:
    """The counts of a day are forgotten after four weeks."""
    await store_jobs(engine, 2)
    await learn(engine)
    later = round((datetime.fromtimestamp(NOW / 1000, UTC) + timedelta(days=29)).timestamp() * 1000)
    await store_jobs(engine, 1, later - HOUR_MS, seed=2)
    assert await learn(engine, later) == 1
    assert (await stored.read_quality(engine.archive, DEFAULT_ZONE)).total().rides == 1
