"""Work that is too far in the future, over HTTP: every route with a time of work refuses it."""

from __future__ import annotations

from typing import Any

import pytest

from engine.types import Role
from tests.server.http import people
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.server.http.conftest import Join

LAST, NEXT = "2286-11-20T17:46:39.999Z", "2286-11-20T17:46:40Z"
FAR_TIMES = (NEXT, "2500-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59-23:59")


@pytest.mark.parametrize("when", FAR_TIMES)
async def test_a_far_time_is_refused_by_every_route(staff: dict[Role, Client], join: Join, when: str) -> None:
    """A booking, its preview, an edit, a quote, slots and a day plan are refused with a pointer for a time after
    2286.
    """
    admin, carla = staff["admin"], await join("customer")
    service = await people.make_service(admin)
    job = (await people.book(carla, service))["id"]
    body: dict[str, Any] = {"service": service, **HERE, "scheduled_for": when}
    booking, wanted = {**body, "address": "x"}, {**body, "blueprint": "managed"}
    for refused in (
        await carla("POST", "/v1/jobs", booking),
        await admin("POST", "/v1/jobs/preview", {**booking, "customer": carla.user}),
        await carla("POST", "/v1/quotes", wanted),
        await carla("PATCH", f"/v1/jobs/{job}", {"scheduled_for": when}),
    ):
        assert (code_of(refused), pointers(refused)) == ((422, "invalid"), {"/scheduled_for"})
    place = {"service": service, **HERE}
    for times, pointer in (
        ({"from": when, "to": when}, "/from"),
        ({"from": "2286-11-20T00:00:00Z", "to": NEXT}, "/to"),
    ):
        query = "&".join(f"{name}={value}" for name, value in {**place, **times}.items())
        found = await carla("GET", f"/v1/slots?{query}")
        assert (code_of(found), pointers(found)) == ((422, "invalid"), {pointer})
    plan = {"zone": "main", "date": when[:10], "fixed": "started"}
    assert pointers(await admin("POST", "/v1/plans", plan)) == {"/date"}


async def test_the_last_time_is_booked_and_in_the_schedule(staff: dict[Role, Client], join: Join) -> None:
    """A booking for the last possible time is assigned, and the technician reads their schedule to the millisecond."""
    admin, carla, tom = staff["admin"], await join("customer"), await join("technician")
    service = await people.make_service(admin)
    await people.approve(tom, admin, service)
    job = (await people.book(carla, service, blueprint="managed", scheduled_for=LAST, duration_min=1_440))["id"]
    assert (await admin("POST", f"/v1/jobs/{job}/assign", {"technician": tom.user})).status_code == 200
    (visit,) = (await tom("GET", f"/v1/technicians/{tom.user}/schedule")).json()["schedule"]["visits"]
    assert (visit["from"], visit["to"]) == (LAST, "2286-11-21T17:46:39.999Z")
