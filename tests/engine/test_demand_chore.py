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
from tests.support.artificial_city import make_city
from tests.support.clock import advance

CENTRE, SUBURB = (52.52, 13.40), (52.60, 13.60)
CELLS = {"centre": cell_at(*CENTRE), "suburb": cell_at(*SUBURB)}


async def this_hour(engine: Engine) -> int:
    """Return the running hour of the zone."""
    return hour_of(int(await engine.store.command("HGET", keys.zone_meta(DEFAULT_ZONE), "now")))


async def fill_counts(engine: Engine, weeks: int, last_hour: int) -> None:
    """Insert the counts of an artificial city, up to ``last_hour``."""
    means = {CELLS["centre"]: 4.0, CELLS["suburb"]: 0.01}
    city = make_city(weeks, means, first_hour=last_hour - weeks * WEEK_HOURS + 1)
    same = {"zone": DEFAULT_ZONE, "kind": "cell", "quoted": 0, "filled": 0, "expired": 0}
    rows = [{**same, "hour": hour, "area": area, "booked": n} for hour, counts in city for area, n in counts.items()]
    async with engine.archive.begin_write() as conn:
        await conn.execute(demand_hours.insert(), rows)


async def learn(engine: Engine, chore: demand.ZoneChore | None = None) -> tuple[Any, Any]:
    """Do the chore with ``chore``, or with a new one without state. Return the learnt state."""
    chore = chore or demand.ZoneChore(engine, DEFAULT_ZONE)
    await chore.look()
    whole, areas = chore.demands["cell"].states()
    return whole, dict(areas)


async def test_a_zone_without_requests_has_no_pulse(engine: Engine) -> None:
    """The chore writes nothing before the first booking is archived."""
    await demand.run_once(engine, DEFAULT_ZONE)
    assert await demand_pulse.read_pulses(engine, DEFAULT_ZONE, "cell") == ({}, 0)


async def test_the_pulse_has_what_is_there_now(engine: Engine) -> None:
    """Waiting jobs, free and busy technicians, and the requests of the present hour are counted in the cell, in its
    parents, and in the postal code of the cell.
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
    """The expected requests of a busy cell come from its counts in SQL; a quiet cell has the pulse of a parent."""
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
    """All processes that do the chore have the same numbers: one that never stopped, one that continued from the stored
    state of another one, and one that learnt all counts from the first hour.
    """
    hour = await this_hour(engine)
    await fill_counts(engine, 3, hour + 30)
    running = demand.ZoneChore(engine, DEFAULT_ZONE)
    await learn(engine, running)
    await advance(engine, 25 * 3600)
    await learn(engine)  # another process continues from the stored state, and stores it again
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
    """After the oldest counts are deleted, a restart continues from the stored state. If earlier counts appear, it
    learns all counts again.
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
    """If a zone's time zone changes, its hours of the week are learnt from the counts again, and the stored state is
    ignored.
    """
    hour = await this_hour(engine)
    await fill_counts(engine, 1, hour - 1)
    await demand.run_once(engine, DEFAULT_ZONE)
    assert await demand_models.load(engine.archive, DEFAULT_ZONE, "cell", "UTC") is not None
    assert await demand_models.load(engine.archive, DEFAULT_ZONE, "cell", "Europe/Berlin") is None


async def test_an_hour_is_learnt_when_all_of_it_is_archived(engine: Engine) -> None:
    """While the archive is behind the head that the log had at the hour's end, the hour is not learnt. Later it is
    learnt with all its requests.
    """
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
