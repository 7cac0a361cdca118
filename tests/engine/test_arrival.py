"""The arrival of a technician at a job's place: `technician.near` and `technician.arrived`, each once for a job and its
holder, for any fixes of a device.
"""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from engine.clock import now_ms
from engine.domain import jobs, positions
from engine.domain.commands import CommandInput
from engine.events import ms_of
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.store import keys
from engine.technicians import live
from engine.technicians.live import Fix
from engine.types import DEFAULT_ZONE
from tests.support import blueprints, event_log, people
from tests.support.clock import advance
from tests.support.trips import ARRIVED, NEAR, Trip, start_trip


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Return settings with a second blueprint, `courier`: its technicians count as near at 2 km and as arrived after
    one fix, and only ops receive these two events.
    """
    declared = 'name = "courier"\narrival = { near_m = 2000, at_m = 100, leave_m = 300, fixes = 1 }\n'
    events = "".join(f'\n[events."{kind}"]\nto = ["ops"]\n' for kind in (NEAR, ARRIVED))
    text = blueprints.edited_toml("home_service", {'name = "home_service"\n': declared}) + events
    return blueprints.settings_with_blueprints(settings, tmp_path / "blueprints", courier=text)


# What is no arrival


async def test_who_has_not_departed_does_not_arrive(engine: Engine) -> None:
    """A technician at the place causes no arrival event before the state in which the position is shared, and none
    after they gave the command `arrive` themselves.
    """
    trip = await start_trip(engine, departs=False)
    for _ in range(3):
        assert await trip.send_fix(10) == []
    await jobs.run_command(engine, trip.driver, trip.job, CommandInput(command="depart"))
    await jobs.run_command(engine, trip.driver, trip.job, CommandInput(command="arrive"))
    for _ in range(3):
        assert await trip.send_fix(10) == []


@pytest.mark.parametrize("measured", [True, False], ids=["measured", "from two fixes"])
async def test_who_drives_past_does_not_arrive(engine: Engine, measured: bool) -> None:
    """A technician who passes the place at 14 m/s is near and has not arrived, whether the device measures the speed or
    not.
    """
    trip = await start_trip(engine)
    for north in range(1200, -1200, -42):
        kinds = await trip.send_fix(north, speed=14.0 if measured else None, every_s=3)
    assert kinds == [NEAR]


async def test_vague_fixes_prove_no_arrival(engine: Engine) -> None:
    """Fixes at the place with an accuracy of 80 m prove that the technician is near, but not that they have arrived; a
    fix with an accuracy of 900 m proves neither. One exact fix is not enough, and an inaccurate fix between two exact
    ones interrupts their sequence.
    """
    trip = await start_trip(engine)
    await advance(engine, 300)
    assert await trip.send_fix(10, accuracy=900) == []
    for _ in range(3):
        assert await trip.send_fix(10, accuracy=80) == [NEAR]
    assert await trip.send_fix(10) == [NEAR]
    assert await trip.send_fix(10, accuracy=80) == [NEAR]
    assert await trip.send_fix(10) == [NEAR]
    assert await trip.send_fix(10) == [NEAR, ARRIVED]


async def test_a_fix_from_minutes_ago_proves_nothing(engine: Engine) -> None:
    """Fixes at the place that reach the server three minutes late cause no event. Fixes without a delay, sent after
    them, do.
    """
    trip = await start_trip(engine)
    await advance(engine, 400)
    for ago_s in (200, 190, 180):
        skew = int(await engine.store.redis.hget(keys.zone_meta(DEFAULT_ZONE), "skew") or 0)
        now = now_ms() + skew
        fix = Fix(lat=people.HERE.lat, lon=people.HERE.lon, at=now - ago_s * 1000, accuracy=8.0, speed=0.0)
        await live.store_fixes(engine, trip.driver, trip.driver.id, [fix], live=False)
    assert await trip.events() == []
    await trip.send_fix(0)
    assert await trip.send_fix(0) == [NEAR, ARRIVED]


# What is an arrival


async def test_near_and_arrived_are_told_once(engine: Engine) -> None:
    """At 500 m both sides of the job and ops receive `technician.near`, and with the second slow and exact fix at the
    place `technician.arrived`. The events contain the remaining distance and time, and no position. The job's record
    has the stage that follows from the events.
    """
    trip = await start_trip(engine)
    assert await trip.send_fix(800) == []
    assert await trip.send_fix(490) == [NEAR] and await trip.stage() == "near"
    assert await trip.send_fix(300) == [NEAR]
    assert await trip.send_fix(55) == [NEAR]
    assert await trip.send_fix(20) == [NEAR, ARRIVED] and await trip.stage() == "there"
    near, arrived = (e for e in await event_log.events(engine, job=trip.job) if e.type in (NEAR, ARRIVED))
    for event in (near, arrived):
        assert set(event_log.payload(event)) == {"job", "eta_s", "distance_m", "at"}
        assert set(event.to) == {f"user:{trip.customer.id}", "user:tom", "role:ops", f"job:{trip.job}"}
        assert event.actor == "technician:tom" and event.blueprint_key.startswith("home_service@")
    assert event_log.payload(near)["distance_m"] == 490
    assert 60 <= event_log.payload(near)["eta_s"] <= 130
    assert (event_log.payload(arrived)["distance_m"], event_log.payload(arrived)["eta_s"]) == (20, 0)


async def test_a_device_without_speed_and_accuracy_arrives(engine: Engine) -> None:
    """If the device measures no speed, the distance between two fixes shows it: slow fixes at the place prove the
    arrival.
    """
    trip = await start_trip(engine)
    for north in (400, 200, 50, 45, 40):
        kinds = await trip.send_fix(north, accuracy=None, speed=-1.0)
    assert kinds == [NEAR, ARRIVED]


async def test_a_phone_that_lies_still_arrives_once(engine: Engine) -> None:
    """A phone lies 40 m from the place, its positions jitter by 40 m, and it measures no speed. It arrives within the
    first ten of forty fixes, and only once.
    """
    trip, draw = await start_trip(engine), random.Random(3)
    for number in range(40):
        kinds = await trip.send_fix(40 + draw.uniform(-40, 40), accuracy=40.0, speed=None, every_s=3)
        assert number < 10 or kinds == [NEAR, ARRIVED]


async def test_who_left_and_comes_back_is_not_told_again(engine: Engine) -> None:
    """Up to 150 m from the place the technician is still there; beyond that they have left. If they come back, no
    second event is sent.
    """
    trip = await start_trip(engine, 400)
    await trip.send_fix(10)
    assert await trip.send_fix(10) == [NEAR, ARRIVED]
    await trip.send_fix(140)
    assert await trip.stage() == "there"
    await trip.send_fix(170, accuracy=90)
    assert await trip.stage() == "there"
    await trip.send_fix(170)
    assert await trip.stage() == "left"
    for north in (900, 400, 10, 10):
        kinds = await trip.send_fix(north)
    assert kinds == [NEAR, ARRIVED] and await trip.stage() == "there"


async def test_a_new_holder_arrives_anew(engine: Engine) -> None:
    """After the job was given to another technician, both arrival events are sent once more, for the new holder."""
    trip = await start_trip(engine, 400)
    await trip.send_fix(10)
    assert await trip.send_fix(10) == [NEAR, ARRIVED]
    service = (await engine.store.redis.hget(keys.job(DEFAULT_ZONE, trip.job), "service") or b"").decode()
    ann = await people.technician(engine, "ann", service, at=people.HERE)  # type: ignore[arg-type]
    step = CommandInput(command="reassign", reason="nearer", technician="ann")
    await jobs.run_command(engine, people.ADMIN, trip.job, step)
    await jobs.run_command(engine, ann, trip.job, CommandInput(command="depart"))
    second = Trip(engine, ann, trip.customer, trip.job)
    await second.send_fix(10)
    assert await second.send_fix(10) == [NEAR, ARRIVED, NEAR, ARRIVED]


async def test_a_blueprint_declares_its_own_distances_and_audience(engine: Engine) -> None:
    """The job of a blueprint with `arrival` uses its distances and number of fixes, and its audience."""
    trip = await start_trip(engine, blueprint="courier")
    assert await trip.send_fix(1900) == [NEAR]
    assert await trip.send_fix(90) == [NEAR, ARRIVED]
    near = next(e for e in await event_log.events(engine, job=trip.job) if e.type == NEAR)
    assert not [channel for channel in near.to if channel.startswith("user:")]


@pytest.mark.parametrize(("seed", "ahead_s"), [(1, None), (2, 300.0), (3, -300.0)])
async def test_a_real_trip_arrives_once(engine: Engine, seed: int, ahead_s: float | None) -> None:
    """A trip with jitter, vague fixes, impossible jumps and a clock five minutes off ends with each event once. So does
    the same trip when it is sent once more in batches, out of order.
    """
    trip, draw, north = await start_trip(engine), random.Random(seed), 3000.0
    trip.ahead_s = ahead_s
    while north > 30:
        north -= draw.uniform(40, 120)
        kind = draw.random()
        if kind < 0.1:
            await trip.send_fix(draw.uniform(-9000, 9000), accuracy=draw.uniform(500, 15_000), speed=None)
        elif kind < 0.15:
            await trip.send_fix(80_000, speed=None)
        else:
            await trip.send_fix(max(north, 5) + draw.uniform(-15, 15), accuracy=15.0, speed=9.0)
    for _ in range(20):
        kinds = await trip.send_fix(20 + draw.uniform(-30, 30), accuracy=15.0, speed=draw.choice([0.0, 0.4, None]))
    assert kinds == [NEAR, ARRIVED]
    again = [fix for fix in trip.sent if fix.at is not None]
    draw.shuffle(again)
    for first in range(0, len(again), 20):
        await live.store_fixes(engine, trip.driver, trip.driver.id, again[first : first + 20], live=False)
    assert await trip.events() == [NEAR, ARRIVED]


# The ETA


async def test_the_eta_follows_the_fixes(engine: Engine) -> None:
    """A position on the way has an arrival that comes nearer with the technician. It is 0 when they have arrived, and
    absent before they depart and from a stale position.
    """
    trip = await start_trip(engine, departs=False)
    early = await positions.read_position(engine, people.ADMIN, trip.job)
    assert early is not None and early.eta_s is None and early.source is None
    await jobs.run_command(engine, trip.driver, trip.job, CommandInput(command="depart"))
    etas = []
    for north in (3000, 1500, 300, 10, 10):
        await trip.send_fix(north)
        position = await positions.read_position(engine, trip.customer, trip.job)
        assert position is not None and position.eta_s is not None
        assert position.source == "learned" and position.low and position.high and position.arrives_at
        assert position.low <= position.arrives_at <= position.high
        etas.append(position.eta_s)
    assert etas == sorted(etas, reverse=True) and etas[-1] == 0 and etas[-2] >= 10


async def test_a_stale_fix_gives_no_eta_and_the_end_of_the_job_ends_it(engine: Engine) -> None:
    """A stale position has no ETA. A fix that was measured earlier than the known one does not change the ETA. After
    the end of the job, and while the technician works, there is no ETA.
    """
    trip = await start_trip(engine)
    trip.ahead_s = 0.0
    await trip.send_fix(2000)
    known = await positions.read_position(engine, trip.customer, trip.job)
    assert known is not None and known.eta_s is not None
    early = Fix(lat=people.HERE.lat, lon=people.HERE.lon, at=ms_of(known.at) - 5000, accuracy=8.0)
    await live.store_fixes(engine, trip.driver, trip.driver.id, [early], live=False)
    again = await positions.read_position(engine, trip.customer, trip.job)
    assert again is not None and (again.lat, again.at) == (known.lat, known.at)
    assert again.eta_s is not None and abs(again.eta_s - known.eta_s) <= 2
    stale = positions.position_of_fix(trip.job, known.lat, known.lon, now_ms() - 60_000, 10.0)
    blueprint, place = engine.blueprints.by_name["home_service"], (people.HERE.lat, people.HERE.lon)
    shown = positions.with_arrival(engine, stale, blueprint, DEFAULT_ZONE, "on_the_way", place, arrived=False)
    assert shown.stale and shown.eta_s is None and shown.arrives_at is None
    for command in ("arrive", "start", "complete"):
        await jobs.run_command(engine, trip.driver, trip.job, CommandInput(command=command))
        position = await positions.read_position(engine, trip.customer, trip.job)
        assert position is not None and position.eta_s is None and position.source is None, command
