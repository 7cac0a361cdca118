"""Schedules over HTTP: the refusals, and the hours and jobs that a technician and ops read and write."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from engine.types import Role
from tests.server.http import people
from tests.server.http.client import HERE, Client, code_of
from tests.server.http.conftest import Join

WEEK: list[dict[str, Any]] = [{"day": 1, "from": "08:00", "to": "17:00"}, {"day": 5, "from": "22:00", "to": "06:00"}]
HOURS = {"tz": "Europe/Berlin", "week": WEEK, "exceptions": [{"date": "2026-12-24"}]}


async def test_hours_are_checked_stored_and_replaced(staff: dict[Role, Client], join: Join) -> None:
    """Only the technician and ops may use the routes. Invalid hours are refused with a pointer and change nothing. The
    hours are returned as they were sent, and the next ones replace them.
    """
    carla, tom, una = await join("customer"), await join("technician"), await join("technician")
    path = f"/v1/technicians/{tom.user}"
    for verb, rest, body in (("PUT", "/hours", HOURS), ("GET", "/schedule", None)):
        assert code_of(await carla(verb, path + rest, body)) == (403, "forbidden")
        assert code_of(await staff["onboarding_manager"](verb, path + rest, body)) == (403, "forbidden")
        assert code_of(await una(verb, path + rest, body)) == (404, "not_found")
        assert code_of(await staff["ops_manager"](verb, f"/v1/technicians/{carla.user}{rest}", body)) == (
            404,
            "not_found",
        )
    for wrong, pointer in (
        ({"tz": "Mars/Olympus"}, "/tz"),
        ({"week": [{"day": 0, "from": "08:00", "to": "17:00"}]}, "/week/0/day"),
        ({"week": [{"day": 1, "from": "24:00", "to": "17:00"}]}, "/week/0/from"),
        ({"week": [{"day": 1, "from": "17:00", "to": "17:00"}]}, "/week/0/to"),
        ({"exceptions": [{"date": "2026-02-30"}]}, "/exceptions/0/date"),
        ({"exceptions": [{"date": "2026-02-28", "from": "08:00"}]}, "/exceptions/0"),
    ):
        refused = await tom("PUT", f"{path}/hours", {**HOURS, **wrong})
        assert (code_of(refused), refused.json()["errors"][0]["pointer"]) == ((422, "invalid"), pointer)
    assert (await tom("GET", f"{path}/schedule")).json()["schedule"] == {
        "technician": tom.user,
        "hours": None,
        "visits": [],
    }
    assert (await tom("PUT", f"{path}/hours", HOURS)).json() == {"hours": HOURS}
    assert (await staff["ops_manager"]("GET", f"{path}/schedule")).json()["schedule"]["hours"] == HOURS
    replaced = {"tz": "UTC", "week": [], "exceptions": []}
    assert (await staff["ops_manager"]("PUT", f"{path}/hours", {"tz": "UTC"})).json() == {"hours": replaced}
    assert (await tom("GET", f"{path}/schedule")).json()["schedule"]["hours"] == replaced


async def test_a_booking_that_overlaps_is_refused_and_the_schedule_is_read(
    staff: dict[Role, Client], join: Join
) -> None:
    """A technician with the capacity 2 gets `schedule_conflict` with the times and the other job, and ops force the
    job. The schedule then has both jobs, with buffer and travel time.
    """
    admin, carla, tom = staff["admin"], await join("customer"), await join("technician")
    service = await people.make_service(admin)
    await people.approve(tom, admin, service)
    await admin("PATCH", f"/v1/technicians/{tom.user}", {"capacity": 2})
    at = (datetime.now(UTC) + timedelta(minutes=20)).replace(microsecond=0)
    body = {"blueprint": "managed", "service": service, "address": "Torstrasse 1", "duration_min": 30}
    jobs = []
    for minutes, lat in ((0, HERE["lat"]), (40, HERE["lat"] + 0.01)):
        when = (at + timedelta(minutes=minutes)).isoformat()
        booked = await carla("POST", "/v1/jobs", {**body, "lat": lat, "lon": HERE["lon"], "scheduled_for": when})
        jobs.append(booked.json()["job"])
    assert jobs[0]["duration_min"] == 30
    first, second = (job["id"] for job in jobs)
    assert (await admin("POST", f"/v1/jobs/{first}/assign", {"technician": tom.user})).status_code == 200
    refused = await admin("POST", f"/v1/jobs/{second}/assign", {"technician": tom.user})
    assert code_of(refused) == (409, "schedule_conflict")
    times = [(at + timedelta(minutes=minutes)).isoformat().replace("+00:00", ".000Z") for minutes in (0, 30)]
    assert refused.json()["conflict"] == dict(zip(("from", "to"), times, strict=True))
    assert refused.json()["job"] == {"id": first}
    forced = await admin("POST", f"/v1/jobs/{second}/assign", {"technician": tom.user, "force": True})
    assert forced.status_code == 200
    visits = (await tom("GET", f"/v1/technicians/{tom.user}/schedule")).json()["schedule"]["visits"]
    assert [(visit["job"], visit["booked"], visit["buffer_s"]) for visit in visits] == [
        (first, True, 900.0),
        (second, True, 900.0),
    ]
    assert [visits[0]["from"], visits[0]["to"]] == times
    assert "travel_s" not in visits[0] and 60 < visits[1]["travel_s"] < 900
