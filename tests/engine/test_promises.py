"""The promised arrival of a job: given at acceptance, kept in the job, and reported once if it will not be kept."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.clock import now_ms
from engine.domain import edits, job_queries, jobs
from engine.domain.commands import CommandInput
from engine.events import ms_of
from engine.process.settings import Settings
from engine.rules.distances import METRES_PER_DEGREE
from engine.runtime import Engine
from engine.store import keys
from engine.technicians.live import Coordinates
from engine.types import DEFAULT_ZONE, ServiceId
from engine.workers import scheduler
from tests.support import blueprints, event_log, people
from tests.support.clock import advance
from tests.support.trips import Trip, start_trip

TRAVEL_S = 150 * 3**0.75 * 1.5
"""The promise for 3 km of a zone that has learnt nothing, in seconds."""


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Return settings with a `home_service` whose place may still be edited when it is accepted."""
    text = blueprints.edited_toml("home_service", {'accepted = ["notes", ': 'accepted = ["lat", "notes", '})
    return blueprints.settings_with_blueprints(settings, tmp_path / "blueprints", home_service=text)


async def shown(trip: Trip) -> dict[str, Any]:
    """Return the job as its customer sees it."""
    return msgspec.json.decode(await job_queries.read_job(trip.engine, trip.customer, trip.job))  # type: ignore[no-any-return]


async def late_events(trip: Trip) -> list[dict[str, Any]]:
    """Return the payloads of the job's events `job.late`, after all due tasks have run."""
    while await scheduler.run_once(trip.engine, DEFAULT_ZONE) == 0.0:
        pass
    found = await event_log.events(trip.engine, job=trip.job)
    assert all(event.to == ("role:ops",) for event in found if event.type == "job.late")
    return [event_log.payload(event) for event in found if event.type == "job.late"]


async def is_due(trip: Trip) -> bool:
    """Return whether the zone has a task for the promise."""
    return await trip.engine.store.redis.zscore(keys.due_tasks(DEFAULT_ZONE), f"promise:{trip.job}") is not None


async def test_the_customer_sees_the_promise_from_the_acceptance_on(engine: Engine) -> None:
    """The event of the acceptance has the promise: the arrival time that four of five journeys keep. The promise stays
    in the job when the technician departs, arrives and is done. After the arrival no `job.late` is emitted.
    """
    trip = await start_trip(engine, departs=False)
    accepted = next(e for e in await event_log.events(engine, job=trip.job) if e.type == "job.accepted")
    promise = event_log.payload(accepted)["job"]["promise"]
    assert (ms_of(promise) - accepted.at) / 1000 == pytest.approx(TRAVEL_S, rel=0.01)
    for command in ("depart", "arrive", "start", "complete"):
        assert (await shown(trip))["promise"] == promise
        assert await is_due(trip) == (command in ("depart", "arrive"))
        await jobs.run_command(engine, trip.driver, trip.job, CommandInput(command=command))
    assert (await shown(trip))["promise"] == promise
    await advance(engine, 3600)
    assert await late_events(trip) == []


async def test_who_never_departs_is_late_once_when_the_promise_has_passed(engine: Engine) -> None:
    """A technician who accepted and does not depart is reported once, at the promised time. The promise stays."""
    trip = await start_trip(engine, departs=False)
    await advance(engine, TRAVEL_S - 20)
    assert await late_events(trip) == []
    await advance(engine, 30)
    (late,) = await late_events(trip)
    assert late["job"] == {"id": trip.job} and late["step"] == "promise" and late["status"] == "accepted"
    await jobs.run_command(engine, trip.driver, trip.job, CommandInput(command="depart"))
    await trip.send_fix(2000)
    await advance(engine, 3600)
    assert len(await late_events(trip)) == 1 and (await shown(trip))["promise"]


async def test_a_fix_shows_early_that_the_promise_will_not_be_kept(engine: Engine) -> None:
    """`job.late` is emitted at the first fix from which the technician would probably arrive after the promised time,
    even if that time has not passed yet. Neither further fixes nor the promised time emit it again.
    """
    trip = await start_trip(engine)
    await trip.send_fix(2900)
    assert await late_events(trip) == []
    await trip.send_fix(2900, every_s=TRAVEL_S / 2)
    (late,) = await late_events(trip)
    assert ms_of(late["since"]) < ms_of((await shown(trip))["promise"]) and not await is_due(trip)
    await trip.send_fix(2900)
    await advance(engine, 3600)
    assert len(await late_events(trip)) == 1


async def test_who_has_arrived_is_not_late(engine: Engine) -> None:
    """A technician whose fixes show that they are at the place is not late, even without a command. A technician who
    sent the command without a fix is not late either.
    """
    trip = await start_trip(engine)
    for north in (1000, 20, 10, 10):
        await trip.send_fix(north, every_s=60)
    assert not await is_due(trip)
    await advance(engine, 3600)
    assert await late_events(trip) == []


async def test_another_holder_promises_anew(engine: Engine) -> None:
    """A technician whom ops assign has a promise of their own. When a technician leaves the job, their promise ends. An
    edit of the place ends the promise, an edit of the notes does not.
    """
    trip = await start_trip(engine, departs=False)
    first = (await shown(trip))["promise"]
    await edits.edit_job(engine, people.ADMIN, trip.job, {"notes": "Ring twice"})
    assert (await shown(trip))["promise"] == first
    await reassign(trip, "bob", 1000)
    second = (await shown(trip))["promise"]
    assert second < first and await is_due(trip)
    await edits.edit_job(engine, people.ADMIN, trip.job, {"lat": people.HERE.lat + 0.01})
    assert "promise" not in await shown(trip) and not await is_due(trip)
    await reassign(trip, "eve", 1000)
    assert (await shown(trip))["promise"] and await is_due(trip)
    await jobs.run_command(engine, people.ADMIN, trip.job, CommandInput(command="unassign"))
    assert "promise" not in await shown(trip) and not await is_due(trip)


async def reassign(trip: Trip, name: str, north_m: float, *, old_s: float = 0) -> None:
    """Give the job to another technician, whose position is `old_s` seconds old."""
    at = Coordinates(people.HERE.lat + north_m / METRES_PER_DEGREE, people.HERE.lon)
    other = await people.technician(trip.engine, name, ServiceId((await shown(trip))["service"]), at=at)
    await advance(trip.engine, old_s)
    given = CommandInput(command="reassign", technician=other.id, force=True)
    await jobs.run_command(trip.engine, people.ADMIN, trip.job, given)


async def test_a_job_with_a_time_has_no_promise(engine: Engine) -> None:
    """The time of a booked job is agreed, so that its acceptance gives no promise."""
    trip = await start_trip(engine, departs=False, scheduled_for=now_ms() + 1_200_000)
    assert (await shown(trip))["technician"] and "promise" not in await shown(trip)


async def test_an_old_position_promises_nothing(engine: Engine) -> None:
    """A job whose technician was last seen more than five minutes ago has no promise, not even that of its former
    holder.
    """
    trip = await start_trip(engine, departs=False)
    await reassign(trip, "eve", 1000, old_s=400)
    assert "promise" not in await shown(trip) and not await is_due(trip)


async def test_who_is_only_asked_promises_when_they_accept(engine: Engine) -> None:
    """A technician whom the engine has chosen has not accepted yet: the job has no promise until they accept."""
    service, customer = await people.service(engine), await people.customer(engine)
    at = Coordinates(people.HERE.lat + 3000 / METRES_PER_DEGREE, people.HERE.lon)
    driver = await people.technician(engine, "tom", service, at=at)
    job = people.id_of(await people.job(engine, customer, service, blueprint="managed"))
    trip = Trip(engine, driver, customer, job)
    for _ in range(2):  # the window of the search ends, and the technician is chosen
        await advance(engine, 2)
        assert await late_events(trip) == []
    view = await shown(trip)
    assert view["technician"]["id"] == driver.id and view["asked"] and "promise" not in view
    await advance(engine, 5)
    await jobs.run_command(engine, driver, job, CommandInput(command="accept"))
    view = await shown(trip)
    assert (ms_of(view["promise"]) - ms_of(view["at"]["accepted"])) / 1000 == pytest.approx(TRAVEL_S, rel=0.01)
