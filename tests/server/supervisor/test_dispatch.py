"""Jobs on a server whose roles are all processes of their own."""

from __future__ import annotations

import statistics
from time import perf_counter

from engine.process.settings import Settings
from tests.story.conftest import Scenario
from tests.support.http import open_http
from tests.support.wide import run_wide_server

BOOKING_COUNT = 12
PLACE = {"address": "1 Main St", "lat": 40.75, "lon": -73.99}


async def test_the_first_offer_follows_the_booking_at_once(settings: Settings) -> None:
    """The scheduler finds the booking in the log at once, and does not wait for its periodic check, which is up to a
    second later. The technician is connected to one of two workers, and any worker serves the customer's requests.
    """
    waits: list[float] = []
    async with (
        run_wide_server(settings, 2, is_split=True) as server,
        open_http(server.url) as technicians,
        open_http(server.url) as customers,
    ):
        scenario = Scenario(server, technicians)
        service = await scenario.create_service()
        tina = await scenario.create_technician("Tina", service)
        carla = await Scenario(server, customers).create_person("customer", "Carla")
        for _ in range(BOOKING_COUNT):
            began = perf_counter()
            booked = await carla.post("/v1/jobs", {"service": service, **PLACE})
            assert booked.status_code == 201, booked.text
            job = booked.json()["job"]["id"]
            await tina.socket.wait_for("new_job_broadcast", job)
            waits.append(perf_counter() - began)
            assert (await carla.post(f"/v1/jobs/{job}/cancel")).status_code == 200
        for person in scenario.people:
            await person.socket.close()
    assert statistics.median(waits) < 0.1
