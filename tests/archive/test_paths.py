"""The paths of technicians on jobs: from the fixes to SQL, thinned, for a limited time. On both databases."""

from __future__ import annotations

import dataclasses

import msgspec
import pytest
from sqlalchemy import select

from engine.archive import paths as stored_paths
from engine.clock import now_ms
from engine.domain import jobs, paths, positions
from engine.domain.commands import CommandInput
from engine.errors import Unavailable
from engine.rules.distances import METRES_PER_DEGREE
from engine.rules.paths import PathPoint
from engine.runtime import Engine
from engine.sql.path_tables import job_paths
from engine.store import keys
from engine.technicians import live
from engine.technicians.live import Fix
from engine.types import DEFAULT_ZONE, Principal, TechnicianId, UserId
from engine.workers import archiver, maintenance, position_archive
from tests.archive.conftest import DatabaseAway
from tests.support import people
from tests.support.clock import advance
from tests.support.trips import Trip, start_trip


async def path_of(trip: Trip) -> list[PathPoint]:
    """Return the path of a trip, from Redis and SQL."""
    return await paths.read_path(trip.engine, DEFAULT_ZONE, trip.job, TechnicianId(trip.driver.id))


def north_m(point: PathPoint) -> float:
    """Return how far north of the place of the job a point is, in metres."""
    return round((point.lat - people.HERE.lat) * METRES_PER_DEGREE)


async def points_in_redis(trip: Trip) -> int:
    """Return how many points of the path are in Redis."""
    key = keys.path(DEFAULT_ZONE, trip.job, TechnicianId(trip.driver.id))
    return int(await trip.engine.store.redis.llen(key))


async def test_only_shared_positions_are_in_a_path(engine: Engine) -> None:
    """Fixes before the departure, vague ones, those sent offline, those measured before the departure and those after
    the end of the work are in no path.
    """
    trip = await start_trip(engine, departs=False)
    await trip.send_fix(2900)
    measured = now_ms() + int(await engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "skew") or 0)
    await advance(engine, 10)
    await jobs.run_command(engine, trip.driver, trip.job, CommandInput(command="depart"))
    late = Fix(lat=people.HERE.lat, lon=people.HERE.lon, at=measured + 5000, accuracy=8.0)
    await live.store_fixes(engine, trip.driver, trip.driver.id, [late], live=False)
    assert await path_of(trip) == []
    await trip.send_fix(2000)
    await trip.send_fix(1900, accuracy=150)
    await live.set_availability(engine, trip.driver, trip.driver.id, online=False)
    await trip.send_fix(1800)
    await live.set_availability(engine, trip.driver, trip.driver.id, online=True)
    await trip.send_fix(1000)
    for command in ("arrive", "start", "complete"):
        await jobs.run_command(engine, trip.driver, trip.job, CommandInput(command=command))
    await trip.send_fix(500)
    assert [north_m(point) for point in await path_of(trip)] == [2000, 1000]


async def test_a_path_that_is_partly_in_sql_reads_as_one_line(engine: Engine) -> None:
    """A path is moved from Redis to SQL in two parts. Before, between and after the two moves its reader gets the same
    line. Of a straight way only the ends are kept, and the point where the two parts meet. Redis deletes only points
    that SQL has.
    """
    trip = await start_trip(engine)
    for north in (2900, 2800, 2700):
        await trip.send_fix(north)
    assert [north_m(point) for point in await path_of(trip)] == [2900, 2700]
    assert await position_archive.move_paths(engine, DEFAULT_ZONE) == 0, "not due yet"
    assert await position_archive.move_paths(engine, DEFAULT_ZONE, all_paths=True) == 1
    assert await points_in_redis(trip) == 0
    for north in (2600, 2500):
        await trip.send_fix(north)
    assert [north_m(point) for point in await path_of(trip)] == [2900, 2700, 2500]
    await advance(engine, 601)
    await archiver.run_once(engine)
    assert await points_in_redis(trip) == 0 and await engine.store.redis.zcard(keys.paths(DEFAULT_ZONE)) == 0
    assert [north_m(point) for point in await path_of(trip)] == [2900, 2700, 2500]


async def test_a_move_that_is_repeated_stores_each_point_once(engine: Engine) -> None:
    """If an archiver dies between SQL and Redis, the next one stores no point twice, and points that came in between
    stay in Redis until they are moved.
    """
    trip = await start_trip(engine)
    await trip.send_fix(2900)
    await trip.send_fix(2500)
    technician = TechnicianId(trip.driver.id)
    points = await path_of(trip)
    await stored_paths.append_path(engine.archive, trip.job, technician, points)
    await trip.send_fix(2000)
    entry = f"{trip.job}:{technician}"
    names = {
        "meta": keys.zone_meta(DEFAULT_ZONE),
        "paths": keys.paths(DEFAULT_ZONE),
        "path": keys.path(DEFAULT_ZONE, trip.job, technician),
    }
    for _ in range(2):
        await engine.store.run(DEFAULT_ZONE, "path_trim", keys=names, args={"entry": entry, "until": points[-1].at})
        assert await points_in_redis(trip) == 1
    assert await position_archive.move_paths(engine, DEFAULT_ZONE, all_paths=True) == 1
    assert [north_m(point) for point in await path_of(trip)] == [2900, 2500, 2000]


async def test_points_wait_for_a_database_that_is_away(engine: Engine, database_away: DatabaseAway) -> None:
    """While the database is away the points stay in Redis, which loses none of them, and are moved afterwards."""
    trip = await start_trip(engine)
    await trip.send_fix(2900)
    async with database_away():
        await trip.send_fix(2000)
        with pytest.raises(Unavailable):
            await position_archive.move_paths(engine, DEFAULT_ZONE, all_paths=True)
        assert await points_in_redis(trip) == 2
    assert await position_archive.move_paths(engine, DEFAULT_ZONE, all_paths=True) == 1
    assert [north_m(point) for point in await path_of(trip)] == [2900, 2000]


async def test_ops_see_the_path_of_a_job_that_redis_has_forgotten(engine: Engine) -> None:
    """After Redis has deleted a finished job, ops can read the technician's path from SQL; the customer, the technician
    and services cannot.
    """
    trip = await start_trip(engine)
    for north in (2900, 2000):
        await trip.send_fix(north)
    for command in ("arrive", "start", "complete"):
        await jobs.run_command(engine, trip.driver, trip.job, CommandInput(command=command))
    await archiver.run_once(engine)
    await engine.store.redis.delete(keys.job(DEFAULT_ZONE, trip.job))
    for who in (trip.customer, trip.driver, Principal(UserId("pay"), "service")):
        track = await positions.read_track(engine, who, trip.job)
        assert (track.position, track.technician) == (None, None)
    track = await positions.read_track(engine, people.ADMIN, trip.job)
    assert (track.position, track.technician) == (None, "tom")
    assert [north_m(point) for point in await path_of(trip)] == [2900, 2000]


async def test_old_paths_are_deleted(engine: Engine) -> None:
    """Maintenance deletes the paths whose last point is older than `path_retention_s`, and no others."""
    old, new = now_ms() - 31 * 86_400_000, now_ms() - 29 * 86_400_000
    for job, at in (("job_main_old", old), ("job_main_new", new)):
        points = [PathPoint(40.0, -74.0, at - 1000), PathPoint(41.0, -74.0, at)]
        await stored_paths.append_path(engine.archive, job, "tom", points)  # type: ignore[arg-type]
    assert (await maintenance.run_once(engine))["paths"] == 1
    async with engine.archive.begin_read() as conn:
        assert list((await conn.execute(select(job_paths.c.job))).scalars()) == ["job_main_new"]
    shorter = dataclasses.replace(engine, settings=msgspec.structs.replace(engine.settings, path_retention_s=86_400.0))
    assert await position_archive.delete_old_paths(shorter) == 1


async def test_a_hot_path_is_bounded(engine: Engine) -> None:
    """A path of 256 points is due at once, and one that nobody moves has at most 2,304 points in Redis, with a TTL."""
    trip = await start_trip(engine)
    key = keys.path(DEFAULT_ZONE, trip.job, TechnicianId(trip.driver.id))
    await trip.send_fix(2900)
    assert 0 < await engine.store.redis.pttl(key) <= 86_400_000
    await engine.store.redis.rpush(key, *[f"40.0 -74.0 {i}" for i in range(254)])
    await trip.send_fix(2800)
    due = await engine.store.redis.zscore(keys.paths(DEFAULT_ZONE), f"{trip.job}:{trip.driver.id}")
    now = int(await engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "now") or 0)
    assert due is not None and due <= now + 1000
    await engine.store.redis.rpush(key, *[f"40.0 -74.0 {i}" for i in range(2_047)])
    await trip.send_fix(2700)
    assert await points_in_redis(trip) == 2_048
