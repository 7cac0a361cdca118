"""`GET /v1/jobs/{id}/track` with `?path=true`: the path of a job's technician, and who may see it at which time."""

from __future__ import annotations

from typing import Any

import pytest

from engine.domain import positions
from server.serve import RunningServer
from tests.server.http import people
from tests.server.http.client import HERE, Client
from tests.server.http.conftest import Join

pytestmark = pytest.mark.usefixtures("service")


async def send_fix(technician: Client, north: float) -> None:
    """Send a fix of the technician, ``north`` degrees north of ``HERE``."""
    place = {"lat": HERE["lat"] + north, "lon": HERE["lon"], "accuracy": 5, "speed": 0}
    answer = await technician("PUT", f"/v1/technicians/{technician.user}/location", place)
    assert answer.is_success, answer.text


async def read_track(caller: Client, job: str, query: str = "?path=true") -> dict[str, Any]:
    """Read a track, assert that the caller may, and return the reply."""
    answer = await caller("GET", f"/v1/jobs/{job}/track{query}")
    assert answer.status_code == 200, answer.text
    reply: dict[str, Any] = answer.json()
    return reply


async def start_job(customer: Client, technician: Client, service: str, *, departs: bool = True) -> str:
    """Book a job, let the technician claim it and (by default) depart; return its id."""
    job = str((await people.book(customer, service))["id"])
    await people.wait_for_offer(technician, job)
    for command in ("claim", "depart") if departs else ("claim",):
        answer = await technician("POST", f"/v1/jobs/{job}/{command}", {})
        assert answer.is_success, answer.text
    return job


async def test_a_path_that_is_no_boolean_is_refused(staff: dict[str, Client], join: Join, service: str) -> None:
    """`path` must be a boolean. Another value and an unknown parameter are `invalid`, and the refusal names them."""
    job = str((await people.book(await join("customer"), service))["id"])
    for query, pointer in (("?path=perhaps", "/path"), ("?paths=true", "/paths")):
        answer = await staff["admin"]("GET", f"/v1/jobs/{job}/track{query}")
        assert answer.status_code == 422 and answer.json()["errors"][0]["pointer"] == pointer


async def test_strangers_learn_nothing_of_a_path(
    staff: dict[str, Client], join: Join, technician: Client, nobody: Client, service: str
) -> None:
    """Another customer, another technician and a mediator without a dispute get `not_found`, an onboarding manager
    `forbidden`, and a caller without a token `unauthenticated`.
    """
    job = await start_job(await join("customer"), technician, service)
    await send_fix(technician, 0.01)
    for caller, status in (
        (await join("customer"), 404),
        (await join("technician"), 404),
        (staff["mediator"], 404),
        (staff["onboarding_manager"], 403),
        (nobody, 401),
    ):
        assert (await caller("GET", f"/v1/jobs/{job}/track?path=true")).status_code == status


async def test_a_path_is_shown_while_it_is_shared_and_a_day_longer(
    staff: dict[str, Client],
    join: Join,
    technician: Client,
    service: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The customer, a service, ops and the technician see the path from the departure on, and after the end of the work
    for a day; then only ops do. While the technician is offline, only ops and the technician see it.
    """
    customer = await join("customer")
    job = await start_job(customer, technician, service, departs=False)
    await send_fix(technician, 0.02)
    for caller in (customer, staff["service"], staff["admin"], technician):
        assert (await read_track(caller, job))["path"] is None
    await technician("POST", f"/v1/jobs/{job}/depart", {})
    for north in (0.015, 0.01, 0.005):
        await send_fix(technician, north)
    line = (await read_track(customer, job))["path"]
    assert line["type"] == "LineString" and len(line["times"]) == len(line["coordinates"]) == 2
    assert line["coordinates"][0] == pytest.approx([HERE["lon"], HERE["lat"] + 0.015])
    assert line["coordinates"][-1] == pytest.approx([HERE["lon"], HERE["lat"] + 0.005])
    assert line["times"] == sorted(line["times"])
    for caller in (staff["service"], staff["admin"], technician):
        assert (await read_track(caller, job))["path"] == line
    assert "path" not in await read_track(customer, job, "") and "path" not in await read_track(
        customer, job, "?path=false"
    )

    availability = f"/v1/technicians/{technician.user}/availability"
    await technician("PUT", availability, {"online": False})
    assert await read_track(customer, job) == {"position": None, "path": None}
    assert (await read_track(staff["ops_manager"], job))["path"] == line
    await technician("PUT", availability, {"online": True})

    for command in ("arrive", "start", "complete"):
        assert (await technician("POST", f"/v1/jobs/{job}/{command}", {})).is_success
    await send_fix(technician, 0.03)
    assert (await read_track(customer, job))["path"] == line
    monkeypatch.setattr(positions, "VISIBLE_AFTER_END_MS", -1)
    for caller in (customer, staff["service"], technician):
        assert await read_track(caller, job) == {"position": None, "path": None}
    assert (await read_track(staff["admin"], job))["path"] == line


async def test_a_former_holders_path_is_not_shown(
    staff: dict[str, Client], join: Join, technician: Client, site: RunningServer, service: str
) -> None:
    """The path shows only the present holder: after the job was reassigned, a new track begins, and the former holder
    gets `not_found`.
    """
    customer, other = await join("customer"), await join("technician")
    await people.approve(other, staff["admin"], service)
    job = await start_job(customer, technician, service)
    for north in (0.02, 0.01):
        await send_fix(technician, north)
    assert (await read_track(customer, job))["path"] is not None
    await people.go_online(other)
    body = {"technician": other.user, "reason": "nearer"}
    assert (await staff["admin"]("POST", f"/v1/jobs/{job}/reassign", body)).is_success
    assert (await other("POST", f"/v1/jobs/{job}/depart", {})).is_success
    for caller in (customer, staff["admin"], other):
        assert (await read_track(caller, job))["path"] is None
    assert (await technician("GET", f"/v1/jobs/{job}/track?path=true")).status_code == 404
    await other("PUT", f"/v1/technicians/{other.user}/availability", {"online": False})
