"""Tests of the chore of demand: what it learns from the counts in SQL, and the pulse that it writes."""

from __future__ import annotations

from typing import Any

from engine.archive import demand_models
from engine.domain import demand_pulse, jobs
from engine.rules.hour_slots import WEEK_HOURS, hour_of
from engine.rules.pulse import cell_at, lineage_of
from engine.runtime import Engine
from engine.sql.demand_tables import demand_hours
from engine.store import keys
from engine.types import DEFAULT_ZONE
from engine.workers import archiver, demand
from tests.support import people
from tests.support.clock import advance
from tests.support.made_city import make_city

CENTRE, SUBURB = (52.52, 13.40), (52.60, 13.60)
CELLS = {"centre": cell_at(*CENTRE), "suburb": cell_at(*SUBURB)}


async def this_hour(engine: Engine) -> int:
    """Return the running hour of the zone."""
    return hour_of(int(await engine.store.command("HGET", keys.zone_meta(DEFAULT_ZONE), "now")))


async def fill_counts(engine: Engine, weeks: int, last_hour: int) -> None:
    """Insert the counts of a city that is made up, up to ``last_hour``."""
    means = {CELLS["centre"]: 4.0, CELLS["suburb"]: 0.01}
    city = make_city(weeks, means, first_hour=last_hour - weeks * WEEK_HOURS + 1)
    same = {"zone": DEFAULT_ZONE, "kind": "cell", "quoted": 0, "filled": 0, "expired": 0}
    rows = [{**same, "hour": hour, "area": area, "booked": n} for hour, counts in city for area, n in counts.items()]
    async with engine.archive.begin_write() as conn:
        await conn.execute(demand_hours.insert(), rows)


async def learn(engine: Engine, chore: demand.ZoneChore | None = None) -> tuple[Any, Any]:
    """Do the chore, as a process that has just started unless ``chore`` is given. Return what it has learnt."""
    chore = chore or demand.ZoneChore(engine, DEFAULT_ZONE)
    await chore.look()
    whole, areas = chore.demands["cell"].states()
    return whole, dict(areas)


async def test_a_zone_without_requests_has_no_pulse(engine: Engine) -> None:
    """The chore writes nothing before the first booking is archived."""
    await demand.run_once(engine, DEFAULT_ZONE)
    assert await demand_pulse.read_pulses(engine, DEFAULT_ZONE, "cell") == ({}, 0)


async def test_the_pulse_has_what_is_there_now(engine: Engine) -> None:
    """Waiting jobs, free and busy technicians, and the requests of the running hour are counted in the cell and in its
    parents, and in the postal code to which the cell belongs.
    """
    service = await people.service(engine)
    customer = await people.customer(engine)
    await people.technician(engine, "free", service)
    works = await people.technician(engine, "works", service)
    jobs_booked = [await people.offered_job(engine, customer, service, postal_code="10001") for _ in range(3)]
    await jobs.claim(engine, works, jobs_booked[0])
    await archiver.run_once(engine)
    await demand.run_once(engine, DEFAULT_ZONE)
    pulses, _ = await demand_pulse.read_pulses(engine, DEFAULT_ZONE, "cell")
    own = [pulse for area, pulse in pulses.items() if pulse.now == 3]
    assert len(own) == 4  # the cell and its three parents
    assert {(pulse.waiting, pulse.free, pulse.freed) for pulse in own} == {(2, 1, 0.5)}
    by_code, _ = await demand_pulse.read_pulses(engine, DEFAULT_ZONE, "postal_code")
    assert (by_code["10001"].now, by_code["10001"].waiting, by_code["10001"].free) == (3, 2, 1)


async def test_a_cell_with_few_requests_takes_its_parents_pulse(engine: Engine) -> None:
    """What is expected of a busy cell comes from the counts of SQL; a quiet one answers with a parent's."""
    hour = await this_hour(engine)
    await fill_counts(engine, 4, hour - 1)
    await demand.run_once(engine, DEFAULT_ZONE)
    busy = await demand_pulse.read_place_pulse(engine, DEFAULT_ZONE, *CENTRE)
    quiet = await demand_pulse.read_place_pulse(engine, DEFAULT_ZONE, *SUBURB)
    assert busy is not None and quiet is not None
    assert busy.area == CELLS["centre"] and busy.pulse.sample > 1_000
    assert [each.h for each in busy.pulse.ahead] == [1, 2, 3, 4, 5, 6, 24]
    assert all(each.p10 <= each.mean <= each.p90 for each in busy.pulse.ahead)
    assert quiet.area in lineage_of(CELLS["suburb"])[1:]


async def test_a_restart_learns_the_same_bit_by_bit(engine: Engine) -> None:
    """Whoever does the chore has the same numbers: a process that never stopped, one that went on from what another
    stored, and one that learnt everything from the first hour on.
    """
    hour = await this_hour(engine)
    await fill_counts(engine, 3, hour + 30)
    running = demand.ZoneChore(engine, DEFAULT_ZONE)
    await learn(engine, running)
    await advance(engine, 25 * 3600)
    await learn(engine)  # another process takes over, goes on from what was stored, and stores again
    stored = await demand_models.load(engine.archive, DEFAULT_ZONE, "cell", "UTC")
    assert stored is not None and stored.zone.hour == hour + 24
    await advance(engine, 2 * 3600)
    went_on = await learn(engine)
    never_stopped = await learn(engine, running)
    assert never_stopped[0].hour == hour + 26
    assert went_on == never_stopped
    async with engine.archive.begin_write() as conn:
        await conn.execute(demand_models.demand_models.delete())
    assert await learn(engine) == never_stopped


async def test_what_was_learnt_outlives_the_counts(engine: Engine) -> None:
    """After the oldest counts are deleted a restart goes on from what was stored; if older counts appear, it learns all
    of them.
    """
    hour = await this_hour(engine)
    await fill_counts(engine, 6, hour - 1)
    before = await learn(engine)
    async with engine.archive.begin_write() as conn:
        await conn.execute(demand_hours.delete().where(demand_hours.c.hour < hour - 5 * WEEK_HOURS))
    whole, areas = await learn(engine)
    assert (whole.base, whole.weeks, areas) == (before[0].base, before[0].weeks, before[1])
    async with engine.archive.begin_write() as conn:
        row = {"zone": DEFAULT_ZONE, "kind": "cell", "area": CELLS["suburb"], "hour": hour - 7 * WEEK_HOURS}
        await conn.execute(demand_hours.insert().values(**row, booked=9, quoted=0, filled=0, expired=0))
    assert (await learn(engine))[0].first_hour == hour - 7 * WEEK_HOURS


async def test_what_was_learnt_for_another_time_zone_is_learnt_again(engine: Engine) -> None:
    """A zone that gets another time zone learns its hours of the week from the counts, not from what was stored."""
    hour = await this_hour(engine)
    await fill_counts(engine, 1, hour - 1)
    await demand.run_once(engine, DEFAULT_ZONE)
    assert await demand_models.load(engine.archive, DEFAULT_ZONE, "cell", "UTC") is not None
    assert await demand_models.load(engine.archive, DEFAULT_ZONE, "cell", "Europe/Berlin") is None


async def test_an_hour_is_learnt_when_all_of_it_is_archived(engine: Engine) -> None:
    """While the archive is behind the head at the hour's end, the hour is not learnt; then it is, with everything."""
    customer, service = await people.customer(engine), await people.service(engine)
    await people.job(engine, customer, service)
    await archiver.run_once(engine)
    chore = demand.ZoneChore(engine, DEFAULT_ZONE)
    await chore.look()
    first = await this_hour(engine)
    await people.job(engine, customer, service)
    await advance(engine, 3600)
    await chore.look()
    assert chore.demands["cell"].hour == first - 1
    await archiver.run_once(engine)
    await chore.look()
    assert chore.demands["cell"].hour == first
    assert set(chore.demands["cell"].forecast.history.counts[first].values()) == {2}
