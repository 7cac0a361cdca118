"""Fixes and the device's clock: how the engine corrects the time of a fix, and which fixes do not move the technician's
position.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from engine.clock import now_ms
from engine.domain import job_history, jobs
from engine.domain.commands import CommandInput
from engine.errors import Invalid
from engine.events import ms_of
from engine.rules.fixes import Fix, FixReply
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live as technicians
from engine.types import DEFAULT_ZONE, Principal, ServiceId, TechnicianId
from tests.support import event_log, people
from tests.support.clock import advance

LATITUDE_DEGREES_PER_M = 1 / 111_195


@pytest.fixture
async def tom(engine: Engine) -> Principal:
    """Create a technician who is online."""
    return await people.technician(engine, "tom", await people.service(engine))


async def send_fix(
    engine: Engine,
    who: Principal,
    *,
    north: float = 0.0,
    ahead_s: float | None = None,
    live: bool = True,
    **more: float,
) -> FixReply:
    """Send a fix ``north`` metres north of the place where the technician went online. Its time is by a device clock
    that is ``ahead_s`` seconds ahead of the zone's clock; None: the fix has no time.
    """
    skew = int(await engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "skew") or 0)
    at = None if ahead_s is None else now_ms() + skew + round(ahead_s * 1000)
    fix = Fix(lat=people.HERE.lat + north * LATITUDE_DEGREES_PER_M, lon=people.HERE.lon, at=at, **more)  # type: ignore[arg-type]
    return await technicians.store_fixes(engine, who, who.id, [fix], live=live)


async def recorded_position(engine: Engine, who: Principal) -> tuple[float, float]:
    """Return the position in the technician's record: metres north of the place where they went online, and its age in
    seconds.
    """
    record = keys.technician(DEFAULT_ZONE, TechnicianId(who.id))
    lat, at = await engine.store.redis.hmget(record, "lat", "fix_at")
    skew = int(await engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "skew") or 0)
    return round((float(lat) - people.HERE.lat) / LATITUDE_DEGREES_PER_M), round((now_ms() + skew - int(at)) / 1000)


async def test_a_fix_without_a_time_counts_from_its_arrival(engine: Engine, tom: Principal) -> None:
    """A fix without a time replaces the last one, even if the server's clock went back by 300 ms in between."""
    for step in (1, 2, 3):
        await send_fix(engine, tom, north=step * 100)
        assert (await recorded_position(engine, tom))[0] == step * 100
        await engine.store.redis.hincrby(keys.zone_meta(DEFAULT_ZONE), "skew", -300)


@pytest.mark.parametrize("ahead_s", [-300.0, 300.0, -86_400.0])
async def test_a_wrong_clock_is_reported_and_its_fixes_count(engine: Engine, tom: Principal, ahead_s: float) -> None:
    """If a device's clock is minutes wrong, the reply to the first fix contains `clock_offset_s`. Its fixes get the
    zone's time, and their order is by the device's clock.
    """
    for step in (1, 2, 3):
        await advance(engine, 10)
        reply = await send_fix(engine, tom, north=step * 100, ahead_s=ahead_s)
        assert reply.clock_offset_s == pytest.approx(ahead_s, abs=1)
        assert await recorded_position(engine, tom) == (step * 100, 0)
    await send_fix(engine, tom, north=700, ahead_s=ahead_s - 5)
    assert await recorded_position(engine, tom) == (300, 0)


async def test_a_delay_of_40_s_counts_as_late_until_the_second_fix(engine: Engine, tom: Principal) -> None:
    """A first fix with a time 40 s ago may only be late: the offset is reported, and the fix counts as 40 s old. If the
    second fix has the same offset, it is taken for the clock's error and corrected.
    """
    await advance(engine, 60)
    assert (await send_fix(engine, tom, north=100, ahead_s=-40)).clock_offset_s == pytest.approx(-40, abs=1)
    assert await recorded_position(engine, tom) == (100, 40)
    await advance(engine, 10)
    await send_fix(engine, tom, north=200, ahead_s=-40)
    assert await recorded_position(engine, tom) == (200, 0)


@pytest.mark.parametrize("live", [True, False], ids=["alone", "in a batch"])
async def test_an_old_fix_does_not_change_the_clock_offset(engine: Engine, tom: Principal, live: bool) -> None:
    """If the clock of the device is known to be right, a fix from ten minutes ago counts as ten minutes old, and
    `clock_offset_s` remains 0.
    """
    await send_fix(engine, tom, ahead_s=0)
    await advance(engine, 660)
    reply = await send_fix(engine, tom, north=100, ahead_s=-600, live=live)
    assert reply == FixReply(online=True, clock_offset_s=0.0)
    assert await recorded_position(engine, tom) == (100, 600)
    await send_fix(engine, tom, north=200, ahead_s=0)
    assert await recorded_position(engine, tom) == (200, 0)


async def test_a_corrected_clock_has_no_offset(engine: Engine, tom: Principal) -> None:
    """If a clock that was 300 s fast is corrected, the first fix after that counts as late, and with the second the
    offset is 0.
    """
    assert (await send_fix(engine, tom, ahead_s=300)).clock_offset_s == pytest.approx(300, abs=1)
    for step in (1, 2):
        await advance(engine, 10)
        report = await send_fix(engine, tom, north=step * 100, ahead_s=0)
    assert report.clock_offset_s == 0
    assert await recorded_position(engine, tom) == (200, 0)


async def test_a_fix_from_before_2000_counts_from_its_arrival(engine: Engine, tom: Principal) -> None:
    """The time of a fix before the year 2000 is ignored, because the device has no valid clock: the fix counts from its
    arrival.
    """
    await advance(engine, 1)
    fix = Fix(lat=people.HERE.lat + 100 * LATITUDE_DEGREES_PER_M, lon=people.HERE.lon, at=0)
    assert (await technicians.store_fixes(engine, tom, tom.id, [fix])).needs_no_action
    assert await recorded_position(engine, tom) == (100, 0)


@pytest.mark.parametrize(("accuracy", "moves"), [(15_000.0, False), (90.0, True), (-1.0, True), (float("nan"), True)])
async def test_an_inaccurate_fix_does_not_replace_a_recent_accurate_one(
    engine: Engine, tom: Principal, accuracy: float, moves: bool
) -> None:
    """A fix with an accuracy of 15 km does not replace an accurate one from 10 s ago, but replaces it after 180 s. A
    fix with a good or an unknown accuracy always replaces it.
    """
    await advance(engine, 1)
    await send_fix(engine, tom, accuracy=8.0)
    await advance(engine, 10)
    await send_fix(engine, tom, north=800, accuracy=accuracy)
    assert (await recorded_position(engine, tom))[0] == (800 if moves else 0)
    await advance(engine, 180)
    await send_fix(engine, tom, north=900, accuracy=accuracy)
    assert await recorded_position(engine, tom) == (900, 0)


@pytest.mark.parametrize(("then", "ends"), [(50_200, 50_200), (100, 100)], ids=["there", "back"])
async def test_an_impossible_jump_needs_a_second_fix(engine: Engine, tom: Principal, then: int, ends: int) -> None:
    """A jump of 50 km in ten seconds does not move the technician's position. If the next fix is near the new place,
    the position moves there; if it is near the old one, the jump was an error.
    """
    for north, expected_north in ((0, 0), (50_000, 0), (then, ends)):
        await advance(engine, 10)
        await send_fix(engine, tom, north=north)
        assert (await recorded_position(engine, tom))[0] == expected_north


async def test_an_inaccurate_position_ranks_behind_an_accurate_one(engine: Engine, tom: Principal) -> None:
    """A wave adds the inaccuracy of a position to its distance. A technician with an inaccurate position ranks behind a
    more distant one, and if the sum is beyond the wave's radius, gets no offer.
    """
    service = ServiceId((await engine.store.redis.hget(_technician_key(tom), "services") or b"").decode())
    tara = await people.technician(engine, "tara", service)
    await advance(engine, 200)
    await send_fix(engine, tom, accuracy=2_000.0)
    await send_fix(engine, tara, north=1_000, accuracy=10.0)
    job = await people.offered_job(engine, await people.customer(engine), service)
    [offer] = await event_log.events(engine, "offer.created")
    assert sorted(offer.to) == ["user:tara", "user:tom"]
    [wave] = [msgspec.json.decode(each) for each in await job_history.waves(engine, people.ADMIN, job)]
    assert wave["in"]["technicians"] == ["tara", "tom"]
    await send_fix(engine, tom, ahead_s=0)
    await advance(engine, 200)
    await send_fix(engine, tom, accuracy=9_000.0)
    await send_fix(engine, tara, north=1_000)
    await people.offered_job(engine, await people.customer(engine), service)
    assert (await event_log.events(engine, "offer.created"))[-1].to == ("user:tara",)


async def test_invalid_positions_in_a_batch_are_skipped(engine: Engine, tom: Principal) -> None:
    """Invalid positions in a batch are skipped. A batch that has only invalid positions is refused."""
    await advance(engine, 1)
    valid_fix, invalid_fix = (
        Fix(lat=people.HERE.lat + 100 * LATITUDE_DEGREES_PER_M, lon=people.HERE.lon),
        Fix(lat=89.0, lon=0.0),
    )
    await technicians.store_fixes(engine, tom, tom.id, [invalid_fix, valid_fix, invalid_fix])
    assert (await recorded_position(engine, tom))[0] == 100
    with pytest.raises(Invalid):
        await technicians.store_fixes(engine, tom, tom.id, [invalid_fix])


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
async def test_the_time_of_a_step_is_corrected_by_the_clock_offset(engine: Engine, tom: Principal, known: bool) -> None:
    """The time of a command from a phone whose clock is 300 s fast is corrected by the known offset. If the offset is
    unknown, a time in the future becomes now.
    """
    service = ServiceId((await engine.store.redis.hget(_technician_key(tom), "services") or b"").decode())
    job = await people.offered_job(engine, await people.customer(engine), service)
    await jobs.claim(engine, tom, job)
    if known:
        await send_fix(engine, tom, ahead_s=300)
    device_time = datetime.now(UTC) + timedelta(seconds=300 - 20)
    at = round(device_time.timestamp() * 1000)
    await jobs.run_command(engine, tom, job, CommandInput(command="depart", occurred_at=at))
    [event] = await event_log.events(engine, "job.status")
    occurred = ms_of(event_log.payload(event)["occurred_at"])
    assert now_ms() - occurred == pytest.approx(20_000 if known else 0, abs=3_000)


def _technician_key(who: Principal) -> str:
    """Return the Redis key of the technician's record."""
    return keys.technician(DEFAULT_ZONE, TechnicianId(who.id))
