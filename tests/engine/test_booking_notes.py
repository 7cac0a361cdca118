"""Tests of booking notes, the record of a booking's zone and job id: if the same booking reaches two zones, one job is
created, in the zone of the first.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest

from engine.domain import booking, booking_notes, zones
from engine.domain.booking import Booking
from engine.errors import CalloutError, Duplicate, Invalid, OutOfArea, ReusedKey, Unavailable
from engine.idempotency.in_redis import Outcome
from engine.process.settings import Settings
from engine.rules.polygons import parse_polygons
from engine.rules.zone_areas import ZoneArea
from engine.runtime import Engine
from engine.startup import open_engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, IdempotencyKey, Principal, ServiceId, Zone, zone_of
from tests.support import people
from tests.support.proxy import Proxy

NORTH = Zone("north")
BORDER_LATITUDE = 51.0
"""The latitude (degrees) from which on a booking of these tests is in the zone `north`."""


@pytest.fixture
async def proxy(empty_redis: str) -> AsyncIterator[Proxy]:
    """Yield a proxy in front of Redis."""
    async with Proxy(empty_redis) as between:
        yield between


@pytest.fixture
async def engine(proxy: Proxy, settings: Settings) -> AsyncIterator[Engine]:
    """Yield an engine with two zones and a border between them."""
    ring = [[0, BORDER_LATITUDE], [30, BORDER_LATITUDE], [30, 60], [0, 60], [0, BORDER_LATITUDE]]
    areas = (ZoneArea(NORTH, parse_polygons({"type": "Polygon", "coordinates": [ring]})),)
    Path(settings.data).mkdir(exist_ok=True)
    async with open_engine(msgspec.structs.replace(settings, redis=proxy.url, zone_areas=areas)) as opened:
        yield opened


async def book(
    engine: Engine, who: Principal, service: ServiceId, lat: float, key: str | None = None, **more: object
) -> Outcome:
    """Book a job at the latitude ``lat``."""
    place = {"service": service, "lat": lat, "lon": 13.0, "address": "1 Main St"}
    given = Booking(**place, **more)  # type: ignore[arg-type]
    return await booking.book_job(engine, who, given, key=key)


async def job_count(engine: Engine) -> int:
    """Return how many jobs both zones have."""
    return sum([await engine.store.redis.zcard(keys.jobs(zone)) for zone in (DEFAULT_ZONE, NORTH)])


async def test_a_booking_is_made_in_the_zone_of_its_position(engine: Engine) -> None:
    """A booking for which no note exists is made in the zone of its position. The note then has this zone and the job's
    id.
    """
    service, carla, key = await people.service(engine), await people.customer(engine), str(uuid.uuid4())
    job = people.id_of(await book(engine, carla, service, 52.0, key))
    assert zone_of(job) == NORTH
    noted = await engine.store.redis.get(keys.booking_note(carla.id, key))
    assert noted.decode().split()[:2] == [NORTH, job]
    assert 0 < await engine.store.redis.pttl(keys.booking_note(carla.id, key)) <= booking_notes.NOTE_LIFETIME_MS


@pytest.mark.parametrize("key", [None, "7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a11"])
async def test_a_reference_from_both_sides_of_the_border_at_once(engine: Engine, key: str | None) -> None:
    """Bookings with one reference reach both zones at once, with one key or with a key each: one job is created. The
    other requests get that job, or are refused as another booking because their position differs.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(book_or_error(engine, carla, service, lat, key or str(uuid.uuid4()), reference="order 7"))
            for lat in (50.0, 52.0, 50.0, 52.0)
        ]
    outcomes = [task.result() for task in tasks]
    jobs = {people.id_of(outcome) for outcome in outcomes if isinstance(outcome, Outcome)}
    refused = [outcome for outcome in outcomes if not isinstance(outcome, Outcome)]
    assert len(jobs) == 1 and await job_count(engine) == 1
    assert len(refused) == 2 and {type(error) for error in refused} == {ReusedKey if key else Duplicate}


async def book_or_error(
    engine: Engine, who: Principal, service: ServiceId, lat: float, key: str, **more: object
) -> Outcome | CalloutError:
    """Return the outcome of a booking, or its refusal."""
    try:
        return await book(engine, who, service, lat, key, **more)
    except CalloutError as error:
        return error


@pytest.mark.parametrize("border_zone", [NORTH, None])
async def test_the_same_booking_where_the_border_has_moved(
    engine: Engine, monkeypatch: pytest.MonkeyPatch, border_zone: Zone | None
) -> None:
    """A gateway has another border between the zones, or has the position in no zone. The same booking repeated there
    returns the first job, under the key and under the reference. A new booking outside all zones is refused.
    """
    service, carla, key = await people.service(engine), await people.customer(engine), str(uuid.uuid4())
    first = await book(engine, carla, service, 50.0, key, reference="order 8")
    monkeypatch.setattr(zones, "zone_at", lambda *_: border_zone)
    again = await book(engine, carla, service, 50.0, key, reference="order 8")
    by_reference = await book(engine, carla, service, 50.0, str(uuid.uuid4()), reference="order 8")
    assert people.id_of(first) == people.id_of(again) == people.id_of(by_reference)
    assert again.repeated and again.created and by_reference.repeated and not by_reference.created
    assert await job_count(engine) == 1
    if border_zone is None:
        with pytest.raises(OutOfArea):
            await book(engine, carla, service, 50.0)


async def test_a_repeat_goes_on_in_the_noted_zone_after_a_lost_reply(engine: Engine, proxy: Proxy) -> None:
    """If Redis' reply to the writing of the note is lost, the booking is `unavailable` and no job is created. The
    repeat creates the job in the zone of the note, even if its own position is in the other zone.
    """
    service, carla, key = await people.service(engine), await people.customer(engine), IdempotencyKey(str(uuid.uuid4()))
    proxy.drop_next = b"job_north_"
    with pytest.raises(Unavailable):
        await book(engine, carla, service, 52.0, key)
    assert proxy.dropped == 1 and await job_count(engine) == 0
    noted = (await engine.store.redis.get(keys.booking_note(carla.id, key))).decode().split()[1]
    monkey = pytest.MonkeyPatch()
    with monkey.context() as patch:
        patch.setattr(zones, "zone_at", lambda *_: DEFAULT_ZONE)
        assert people.id_of(await book(engine, carla, service, 52.0, key)) == noted
    assert await job_count(engine) == 1


async def test_a_key_of_another_booking_is_refused_in_every_zone(engine: Engine) -> None:
    """A key that was used for a booking in one zone is refused for another booking in the other zone."""
    service, carla, key = await people.service(engine), await people.customer(engine), str(uuid.uuid4())
    await book(engine, carla, service, 50.0, key)
    with pytest.raises(ReusedKey):
        await book(engine, carla, service, 52.0, key)
    assert await job_count(engine) == 1


async def test_a_refused_booking_leaves_no_note(engine: Engine) -> None:
    """After a booking was refused because of the technician's state, a corrected booking with the same reference is
    made in the zone of its own position.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    asked = {"reference": "order 9", "blueprint": "direct_booking", "technician": "nobody"}
    with suppress(Invalid):
        await book(engine, carla, service, 50.0, **asked)
    assert not await engine.store.redis.exists(keys.booking_reference_note(carla.id, "order 9"))
    assert zone_of(people.id_of(await book(engine, carla, service, 52.0, reference="order 9"))) == NORTH


async def test_a_note_that_another_booking_has_read_is_not_released(engine: Engine) -> None:
    """If a second request has read a note, the note stays when the first request is refused, because the second request
    may be about to create the job.
    """
    carla, keys_of = await people.customer(engine), [IdempotencyKey(str(uuid.uuid4())) for _ in range(2)]
    first = await booking_notes.reserve_job(engine, carla.id, keys_of[0], "order 10", "f1", DEFAULT_ZONE)
    second = await booking_notes.reserve_job(engine, carla.id, keys_of[1], "order 10", "f2", NORTH)
    assert (first.zone, first.job, first.is_sole) == (second.zone, second.job, not second.is_sole)
    await booking_notes.release_job(engine, first)
    await booking_notes.release_job(engine, second)
    third = await booking_notes.reserve_job(engine, carla.id, keys_of[0], "order 10", "f1", NORTH)
    assert third.job == first.job
