"""Tests over HTTP of previews and of why a technician gets offers or not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlencode

from engine.types import Role
from tests.server.http import people
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.server.http.conftest import Join


async def test_a_preview_and_its_booking(staff: dict[Role, Client], join: Join) -> None:
    """Before a booking, ops see who will be asked, and services see only how many. Afterwards the technician reads the
    reasons. Another technician, and a job whose waves did not consider them, are `not_found`.
    """
    admin, carla, tom, una = staff["admin"], await join("customer"), await join("technician"), await join("technician")
    service = await people.make_service(admin)
    await people.approve(tom, admin, service)
    await people.go_online(tom)
    body = {"service": service, **HERE, "address": "Torstrasse 1"}
    asked = await admin("POST", "/v1/jobs/preview", {**body, "customer": carla.user})
    preview = asked.json()["preview"]
    assert (preview["in"]["technicians"], preview["mode"]) == ([tom.user], "broadcast")
    counted = await staff["service"]("POST", "/v1/jobs/preview", {**body, "customer": carla.user})
    assert tom.user not in counted.text and counted.json()["preview"]["in"] == {"count": 1}
    assert code_of(await carla("POST", "/v1/jobs/preview", body)) == (403, "forbidden")

    job = (await people.book(carla, service))["id"]
    await people.wait_for_offer(tom, job)
    why = (await tom("GET", f"/v1/technicians/{tom.user}/why?job={job}")).json()["why"]
    assert why["receiving"] and (why["job"]["asked"], why["job"]["offer"]) == (True, "sent")
    assert code_of(await una("GET", f"/v1/technicians/{tom.user}/why")) == (404, "not_found")
    assert code_of(await carla("GET", f"/v1/technicians/{tom.user}/why")) == (403, "forbidden")
    await people.approve(una, admin, await people.make_service(admin))
    assert code_of(await una("GET", f"/v1/technicians/{una.user}/why?job={job}")) == (404, "not_found")


async def test_slots_are_listed_in_pages(staff: dict[Role, Client], join: Join) -> None:
    """A query for past times, for times in the wrong order or of more than 14 days, or without a service or a place is
    refused with the names of the parameters. The slots are returned in pages, without the technician's id.
    """
    admin, carla, tom = staff["admin"], await join("customer"), await join("technician")
    service = await people.make_service(admin)
    await people.approve(tom, admin, service)
    await people.go_online(tom)
    start = datetime.now(UTC) + timedelta(days=1)

    async def ask(first: datetime, last: datetime, **changes: str) -> Any:
        wanted = {"service": service, "lat": str(HERE["lat"]), "lon": str(HERE["lon"])} | changes
        times = {"from": first.isoformat(), "to": last.isoformat()}
        return await carla("GET", f"/v1/slots?{urlencode({**wanted, **times})}")

    assert pointers(await ask(start - timedelta(days=2), start)) == {"/from"}
    assert pointers(await ask(start, start - timedelta(hours=1))) == {"/to"}
    assert pointers(await ask(start, start + timedelta(days=15))) == {"/to"}
    assert pointers(await ask(start, start, service="srv_none")) == {"/service"}
    assert pointers(await ask(start, start, technician=tom.user)) == {"/technician"}
    assert pointers(await carla("GET", "/v1/slots")) == {"/service", "/lat", "/lon", "/from", "/to"}
    first = (await ask(start, start + timedelta(hours=5), limit="4")).json()
    rest = (await ask(start, start + timedelta(hours=5), cursor=first["next"])).json()
    items = [*first["items"], *rest["items"]]
    assert len(items) == 10 and all(item["free"] == 1 for item in items) and tom.user not in str(items)
    assert len({item["from"] for item in items}) == 10 and "main" in first["as_of"]
