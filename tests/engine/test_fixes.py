"""What a device reports about its position and its clock: what the engine believes, and what moves no technician."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from engine.clock import now_ms
from engine.domain import job_queries, jobs
from engine.domain.commands import Step
from engine.errors import Invalid
from engine.events import ms_of
from engine.rules.fixes import Fix, FixReply
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live as technicians
from engine.types import DEFAULT_ZONE, Principal, ServiceId, TechnicianId
from tests.support import event_log, people
from tests.support.clock import advance

DEGREES_PER_M = 1 / 111_195  # of latitude


@pytest.fixture
async def tom(engine: Engine) -> Principal:
    """A technician who is online."""
    return await people.technician(engine, "tom", await people.service(engine))


async def send(
    engine: Engine,
    who: Principal,
    *,
    north: float = 0.0,
    ahead_s: float | None = None,
    live: bool = True,
    **more: float,
) -> FixReply:
    """Send a fix ``north`` metres from where they went online, by a clock that is ``ahead_s`` ahead of the zone's
    clock.
    """
    skew = int(await engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "skew") or 0)
    at = None if ahead_s is None else now_ms() + skew + round(ahead_s * 1000)
    fix = Fix(lat=people.HERE.lat + north * DEGREES_PER_M, lon=people.HERE.lon, at=at, **more)  # type: ignore[arg-type]
    return await technicians.store_fixes(engine, who, who.id, [fix], live=live)


async def recorded(engine: Engine, who: Principal) -> tuple[float, float]:
    """Return how far north they are by the record, in metres, and the age of that position in seconds."""
    record = keys.technician(DEFAULT_ZONE, TechnicianId(who.id))
    lat, at = await engine.store.redis.hmget(record, "lat", "fix_at")
    skew = int(await engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "skew") or 0)
    return round((float(lat) - people.HERE.lat) / DEGREES_PER_M), round((now_ms() + skew - int(at)) / 1000)


async def test_a_fix_without_a_time_is_as_new_as_its_arrival(engine: Engine, tom: Principal) -> None:
    """This holds also if the server's clock stepped back a little, or for two fixes in the same millisecond."""
    for step in (1, 2, 3):
        await send(engine, tom, north=step * 100)
        assert (await recorded(engine, tom))[0] == step * 100
        await engine.store.redis.hincrby(keys.zone_meta(DEFAULT_ZONE), "skew", -300)


@pytest.mark.parametrize("ahead_s", [-300.0, 300.0, -86_400.0])
async def test_a_wrong_clock_is_reported_and_its_fixes_count(engine: Engine, tom: Principal, ahead_s: float) -> None:
    """The app learns at once that its clock is minutes off; its fixes get the zone's time, in order."""
    for step in (1, 2, 3):
        await advance(engine, 10)
        heard = await send(engine, tom, north=step * 100, ahead_s=ahead_s)
        assert heard.clock_offset_s == pytest.approx(ahead_s, abs=1)
        assert await recorded(engine, tom) == (step * 100, 0)
    await send(engine, tom, north=700, ahead_s=ahead_s - 5)
    assert await recorded(engine, tom) == (300, 0)


async def test_a_delay_of_40_s_counts_as_late_until_the_second_fix(engine: Engine, tom: Principal) -> None:
    """40 s behind may be the delay of the network: it is reported, the fix is as old as it says, and the next one
    decides.
    """
    await advance(engine, 60)
    assert (await send(engine, tom, north=100, ahead_s=-40)).clock_offset_s == pytest.approx(-40, abs=1)
    assert await recorded(engine, tom) == (100, 40)
    await advance(engine, 10)
    await send(engine, tom, north=200, ahead_s=-40)
    assert await recorded(engine, tom) == (200, 0)


@pytest.mark.parametrize("live", [True, False], ids=["alone", "in a batch"])
async def test_an_old_fix_is_no_slow_clock(engine: Engine, tom: Principal, live: bool) -> None:
    """A fix that was queued for ten minutes is ten minutes old, and says nothing about the clock."""
    await send(engine, tom, ahead_s=0)
    await advance(engine, 660)
    heard = await send(engine, tom, north=100, ahead_s=-600, live=live)
    assert heard == FixReply(online=True, clock_offset_s=0.0)
    assert await recorded(engine, tom) == (100, 600)
    await send(engine, tom, north=200, ahead_s=0)
    assert await recorded(engine, tom) == (200, 0)


async def test_a_corrected_clock_is_believed(engine: Engine, tom: Principal) -> None:
    """After five minutes fast and then a correction, the first fix counts as late, and with the next the offset is
    removed.
    """
    assert (await send(engine, tom, ahead_s=300)).clock_offset_s == pytest.approx(300, abs=1)
    for step in (1, 2):
        await advance(engine, 10)
        heard = await send(engine, tom, north=step * 100, ahead_s=0)
    assert heard.clock_offset_s == 0
    assert await recorded(engine, tom) == (200, 0)


async def test_a_device_without_a_clock_is_now(engine: Engine, tom: Principal) -> None:
    """A time before the year 2000 is ignored: the fix counts as of its arrival."""
    await advance(engine, 1)
    fix = Fix(lat=people.HERE.lat + 100 * DEGREES_PER_M, lon=people.HERE.lon, at=0)
    assert (await technicians.store_fixes(engine, tom, tom.id, [fix])).needs_no_action
    assert await recorded(engine, tom) == (100, 0)


@pytest.mark.parametrize(("accuracy", "moves"), [(15_000.0, False), (90.0, True), (-1.0, True), (float("nan"), True)])
async def test_a_vague_fix_does_not_move_a_better_one(
    engine: Engine, tom: Principal, accuracy: float, moves: bool
) -> None:
    """A position from a cell tower does not replace a fix of ten seconds ago; it replaces one of three minutes ago."""
    await advance(engine, 1)
    await send(engine, tom, accuracy=8.0)
    await advance(engine, 10)
    await send(engine, tom, north=800, accuracy=accuracy)
    assert (await recorded(engine, tom))[0] == (800 if moves else 0)
    await advance(engine, 180)
    await send(engine, tom, north=900, accuracy=accuracy)
    assert await recorded(engine, tom) == (900, 0)


@pytest.mark.parametrize(("then", "ends"), [(50_200, 50_200), (100, 100)], ids=["there", "back"])
async def test_an_impossible_jump_waits_for_the_next(engine: Engine, tom: Principal, then: int, ends: int) -> None:
    """50 km in ten seconds moves nobody; the next fix confirms it, or shows that it was an error."""
    for north, stands in ((0, 0), (50_000, 0), (then, ends)):
        await advance(engine, 10)
        await send(engine, tom, north=north)
        assert (await recorded(engine, tom))[0] == stands


async def test_an_inaccurate_position_ranks_behind_an_accurate_one(engine: Engine, tom: Principal) -> None:
    """An inaccurate position counts as that much farther away: others come first, narrow waves skip it, wide ones
    include it.
    """
    serves = ServiceId((await engine.store.redis.hget(_record(tom), "services") or b"").decode())
    tara = await people.technician(engine, "tara", serves)
    await advance(engine, 200)
    await send(engine, tom, accuracy=2_000.0)
    await send(engine, tara, north=1_000, accuracy=10.0)
    job = await people.offered(engine, await people.customer(engine), serves)
    [offer] = await event_log.events(engine, "offer.created")
    assert sorted(offer.to) == ["user:tara", "user:tom"]
    [wave] = [msgspec.json.decode(each) for each in await job_queries.waves(engine, people.ADMIN, job)]
    assert wave["in"]["technicians"] == ["tara", "tom"]
    await send(engine, tom, ahead_s=0)
    await advance(engine, 200)
    await send(engine, tom, accuracy=9_000.0)
    await send(engine, tara, north=1_000)
    await people.offered(engine, await people.customer(engine), serves)
    assert (await event_log.events(engine, "offer.created"))[-1].to == ("user:tara",)


async def test_of_a_batch_the_good_ones_count(engine: Engine, tom: Principal) -> None:
    """An invalid position in a batch is skipped, and a batch with only invalid positions is refused."""
    await advance(engine, 1)
    there, nowhere = Fix(lat=people.HERE.lat + 100 * DEGREES_PER_M, lon=people.HERE.lon), Fix(lat=89.0, lon=0.0)
    await technicians.store_fixes(engine, tom, tom.id, [nowhere, there, nowhere])
    assert (await recorded(engine, tom))[0] == 100
    with pytest.raises(Invalid):
        await technicians.store_fixes(engine, tom, tom.id, [nowhere])


@pytest.mark.parametrize("known", [True, False], ids=["known", "unknown"])
async def test_the_time_of_a_step_is_corrected_by_the_clock_offset(engine: Engine, tom: Principal, known: bool) -> None:
    """A step that was queued on a phone whose clock is five minutes fast is neither refused nor later than now."""
    serves = ServiceId((await engine.store.redis.hget(_record(tom), "services") or b"").decode())
    job = await people.offered(engine, await people.customer(engine), serves)
    await jobs.claim(engine, tom, job)
    if known:
        await send(engine, tom, ahead_s=300)
    told = datetime.now(UTC) + timedelta(seconds=300 - 20)
    at = round(told.timestamp() * 1000)
    await jobs.run_command(engine, tom, job, Step(command="depart", occurred_at=at))
    [event] = await event_log.events(engine, "job.status")
    occurred = ms_of(event_log.payload(event)["occurred_at"])
    assert now_ms() - occurred == pytest.approx(20_000 if known else 0, abs=3_000)


def _record(who: Principal) -> str:
    return keys.technician(DEFAULT_ZONE, TechnicianId(who.id))
