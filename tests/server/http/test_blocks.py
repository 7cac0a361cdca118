"""Blocks over HTTP: one's own list, and what a block does to bookings."""

from __future__ import annotations

import pytest

from engine.types import Role
from tests.server.http import people
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Join


async def test_refused(customer: Client, staff: dict[Role, Client], join: Join) -> None:
    """To staff; and to customers who name no technician, or want one back whom they never blocked."""
    other = await join("customer")
    assert code_of(await staff["ops_manager"]("GET", "/v1/me/blocks")) == (403, "forbidden")
    for name in (other.user, "usr_none"):
        assert code_of(await customer("PUT", f"/v1/me/blocks/{name}")) == (404, "not_found")
        assert code_of(await customer("DELETE", f"/v1/me/blocks/{name}")) == (404, "not_found")
        for method in ("POST", "DELETE"):
            assert code_of(await customer(method, "/v1/me/blocks", {"user": name})) == (404, "not_found")
    for method in ("POST", "DELETE"):
        assert pointers(await customer(method, "/v1/me/blocks", {})) == {"/user"}


@pytest.mark.parametrize("in_path", [False, True])
async def test_blocked_listed_and_lifted(join: Join, in_path: bool) -> None:
    """The one who blocked sees it; the other does not; once lifted it is gone. The user may be named in the body or in
    the path.
    """
    carla, tom = await join("customer"), await join("technician")
    path, body = (f"/v1/me/blocks/{tom.user}", None) if in_path else ("/v1/me/blocks", {"user": tom.user})
    made = (await carla("PUT" if in_path else "POST", path, body)).json()["block"]
    assert made["id"] == tom.user and made["name"] == "Ada"
    assert (await carla("GET", "/v1/me/blocks")).json()["items"] == [made]
    assert (await tom("GET", "/v1/me/blocks")).json()["items"] == []
    gone = await carla("DELETE", path, body)
    assert (gone.status_code, gone.content) == (204, b"")
    assert (await carla("GET", "/v1/me/blocks")).json() == {"items": [], "next": None}


async def test_the_list_comes_page_by_page(join: Join) -> None:
    """The latest first, each once."""
    carla = await join("customer")
    those = [await join("technician") for _ in range(3)]
    for each in those:
        await carla("PUT", f"/v1/me/blocks/{each.user}")
    found, after = [], ""
    while after is not None:
        page = (await carla("GET", f"/v1/me/blocks?limit=2{after and f'&cursor={after}'}")).json()
        found += [block["id"] for block in page["items"]]
        after = page["next"]
    assert sorted(found) == sorted(each.user for each in those) and len(found) == 3


async def test_a_blocked_technician_cannot_be_named(join: Join, admin: Client) -> None:
    """A booking that names him is refused without a word of whose block it is."""
    service = await people.make_service(admin)
    carla, tom = await join("customer"), await join("technician")
    await people.approve(tom, admin, service)
    await people.go_online(tom)
    await tom("PUT", f"/v1/me/blocks/{carla.user}")
    booking = {"service": service, "lat": 52.52, "lon": 13.405, "address": "Torstrasse 1", "technician": tom.user}
    refused = await carla("POST", "/v1/jobs", {**booking, "blueprint": "direct_booking"})
    assert code_of(refused) == (422, "invalid") and "block" not in refused.text
