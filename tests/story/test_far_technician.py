"""A job that nobody near takes: the town is asked in widening rings, and if nobody wants it, its customer is told."""

from __future__ import annotations

from typing import Any

from tests.story.conftest import Person, Town
from tests.support.clock import advance
from tests.support.wait import wait_until

METRE = 1 / 111_195  # of latitude, in degrees
RINGS = {"Near": 500, "Mid": 5_000, "Far": 12_000, "Beyond": 40_000}


async def ring(town: Town, service: str) -> list[Person]:
    """One technician in each ring that home_service asks, the nearest first."""
    return [await town.technician(name, service, lat=40.75 + metres * METRE) for name, metres in RINGS.items()]


async def booked(town: Town, service: str, carla: Person) -> str:
    """A booking."""
    booking = {"service": service, "lat": 40.75, "lon": -73.99, "address": "1 Main St"}
    return str((await carla.post("/v1/jobs", booking)).json()["job"]["id"])


async def asked(person: Person, job: str) -> int:
    """Wait until a technician is asked; returns the wave that he is told."""
    told: Any = await person.socket.wait_for("new_job_broadcast", job)
    return int(told["data"]["offer"]["wave"])


async def test_far_technicians_are_reached_in_the_declared_order(town: Town) -> None:
    """Three, seven, fifteen kilometres and then everybody, ten seconds apart; ops hear that the rings are empty, and
    the farthest may take it.
    """
    plumbing = await town.service()
    carla, ops = await town.person("customer", "Carla"), await town.person("ops_manager", "Olga")
    crowd = await ring(town, plumbing)
    await carla.socket.open()
    await ops.socket.open()
    job = await booked(town, plumbing, carla)
    waves = [await asked(crowd[0], job)]
    for person in crowd[1:]:
        await advance(town.server.engine, 10.1)
        waves.append(await asked(person, job))
    assert waves == [1, 2, 3, 4]
    unfilled = (await ops.socket.wait_for("job.unfilled", job))["data"]
    assert unfilled["step"] == "broadcast" and unfilled["since"]
    looks = (await ops.get(f"/v1/jobs/{job}/waves"))["items"]
    assert [(look["wave"], look["radius_m"]) for look in looks] == [(1, 3000), (2, 7000), (3, 15000), (4, None)]
    assert [look["in"]["technicians"] for look in looks] == [[person.id] for person in crowd]
    assert (await crowd[3].post(f"/v1/jobs/{job}/claim")).json()["message"] == "Job accepted"
    assert (await carla.socket.wait_for("job_accepted", job))["data"]["technician"]["id"] == crowd[3].id


async def test_what_nobody_wants_ends_in_time_and_the_customer_is_told(town: Town) -> None:
    """After fifteen minutes the job is expired: an event, a notification, and a plain answer to who comes too late."""
    plumbing, carla = await town.service(), await town.person("customer", "Carla")
    crowd = await ring(town, plumbing)
    await carla.socket.open()
    job = await booked(town, plumbing, carla)
    await asked(crowd[0], job)
    for person in crowd[1:]:
        await advance(town.server.engine, 10.1)
        await asked(person, job)
    await advance(town.server.engine, 880)
    expired = (await carla.socket.wait_for("job.expired", job))["data"]
    assert (expired["job"]["status"], expired["reason"]) == ("expired", "unclaimed")
    for person in (crowd[0], crowd[3]):
        assert (await person.post(f"/v1/jobs/{job}/claim")).json()["code"] == "expired"

    async def told() -> list[str]:
        return [each["title"] for each in (await carla.get("/v1/notifications"))["items"]]

    assert await wait_until(told, what="the notification") == ["Nobody available"]
