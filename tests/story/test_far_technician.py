"""A job that no near technician claims: the search widens in rings, and the customer is informed when nobody claims the
job.
"""

from __future__ import annotations

from typing import Any

from tests.story.conftest import Person, Scenario
from tests.support.clock import advance
from tests.support.wait import wait_until

DEGREES_PER_M = 1 / 111_195  # of latitude
RING_DISTANCES_M = {"Near": 500, "Mid": 5_000, "Far": 12_000, "Beyond": 40_000}


async def create_technicians_in_rings(scenario: Scenario, service: str) -> list[Person]:
    """Create one technician in each ring of `home_service`, and return them, the nearest first."""
    return [
        await scenario.create_technician(name, service, lat=40.75 + metres * DEGREES_PER_M)
        for name, metres in RING_DISTANCES_M.items()
    ]


async def book_job(scenario: Scenario, service: str, carla: Person) -> str:
    """Book a job and return its id."""
    booking = {"service": service, "lat": 40.75, "lon": -73.99, "address": "1 Main St"}
    return str((await carla.post("/v1/jobs", booking)).json()["job"]["id"])


async def wait_for_offer_wave(person: Person, job: str) -> int:
    """Wait until the technician has an offer, and return the number of its wave."""
    push: Any = await person.socket.wait_for("new_job_broadcast", job)
    return int(push["data"]["offer"]["wave"])


async def test_far_technicians_are_reached_in_the_declared_order(scenario: Scenario) -> None:
    """Four waves, ten seconds apart, search 3, 7 and 15 km and then without a limit; ops receive `job.unfilled`, and
    the farthest technician can claim the job.
    """
    plumbing = await scenario.create_service()
    carla, ops = await scenario.create_person("customer", "Carla"), await scenario.create_person("ops_manager", "Olga")
    crowd = await create_technicians_in_rings(scenario, plumbing)
    await carla.socket.open()
    await ops.socket.open()
    job = await book_job(scenario, plumbing, carla)
    waves = [await wait_for_offer_wave(crowd[0], job)]
    for person in crowd[1:]:
        await advance(scenario.server.engine, 10.1)
        waves.append(await wait_for_offer_wave(person, job))
    assert waves == [1, 2, 3, 4]
    unfilled = (await ops.socket.wait_for("job.unfilled", job))["data"]
    assert unfilled["step"] == "broadcast" and unfilled["since"]
    wave_items = (await ops.get(f"/v1/jobs/{job}/waves"))["items"]
    assert [(wave["wave"], wave["radius_m"]) for wave in wave_items] == [(1, 3000), (2, 7000), (3, 15000), (4, None)]
    assert [wave["in"]["technicians"] for wave in wave_items] == [[person.id] for person in crowd]
    assert (await crowd[3].post(f"/v1/jobs/{job}/claim")).json()["message"] == "Job accepted"
    assert (await carla.socket.wait_for("job_accepted", job))["data"]["technician"]["id"] == crowd[3].id


async def test_a_job_that_nobody_claims_expires(scenario: Scenario) -> None:
    """After fifteen minutes without a claim the job expires: the customer receives an event and a notification, and a
    late claim is refused with `expired`.
    """
    plumbing, carla = await scenario.create_service(), await scenario.create_person("customer", "Carla")
    crowd = await create_technicians_in_rings(scenario, plumbing)
    await carla.socket.open()
    job = await book_job(scenario, plumbing, carla)
    await wait_for_offer_wave(crowd[0], job)
    for person in crowd[1:]:
        await advance(scenario.server.engine, 10.1)
        await wait_for_offer_wave(person, job)
    await advance(scenario.server.engine, 880)
    expired = (await carla.socket.wait_for("job.expired", job))["data"]
    assert (expired["job"]["status"], expired["reason"]) == ("expired", "unclaimed")
    for person in (crowd[0], crowd[3]):
        assert (await person.post(f"/v1/jobs/{job}/claim")).json()["code"] == "expired"

    async def titles() -> list[str]:
        return [each["title"] for each in (await carla.get("/v1/notifications"))["items"]]

    assert await wait_until(titles, what="the notification") == ["Nobody available"]
