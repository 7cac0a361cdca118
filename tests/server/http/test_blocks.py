"""Tests of blocks over HTTP: the list of users whom the caller blocked, and the effect of a block on bookings."""

from __future__ import annotations

import pytest

from engine.types import Role
from tests.server.http import people
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Join


async def test_a_block_is_refused(customer: Client, staff: dict[Role, Client], join: Join) -> None:
    """Staff are refused with 403. A customer is refused with 404 if the named user is not a technician, and with
    `invalid` if the body names no user.
    """
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
async def test_a_block_is_listed_and_removed(join: Join, in_path: bool) -> None:
    """The user who blocked somebody finds the block in their list, and the blocked user does not. After DELETE the list
    is empty. The body or the path names the blocked user.
    """
    carla, tom = await join("customer"), await join("technician")
    path, body = (f"/v1/me/blocks/{tom.user}", None) if in_path else ("/v1/me/blocks", {"user": tom.user})
    block = (await carla("PUT" if in_path else "POST", path, body)).json()["block"]
    assert block["id"] == tom.user and block["name"] == "Ada"
    assert (await carla("GET", "/v1/me/blocks")).json()["items"] == [block]
    assert (await tom("GET", "/v1/me/blocks")).json()["items"] == []
    answer = await carla("DELETE", path, body)
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await carla("GET", "/v1/me/blocks")).json() == {"items": [], "next": None}


async def test_the_list_has_pages(join: Join) -> None:
    """The pages of the list contain each block once."""
    carla = await join("customer")
    those = [await join("technician") for _ in range(3)]
    for each in those:
        await carla("PUT", f"/v1/me/blocks/{each.user}")
    listed_ids, after = [], ""
    while after is not None:
        page = (await carla("GET", f"/v1/me/blocks?limit=2{after and f'&cursor={after}'}")).json()
        listed_ids += [block["id"] for block in page["items"]]
        after = page["next"]
    assert sorted(listed_ids) == sorted(each.user for each in those) and len(listed_ids) == 3


async def test_a_technician_who_blocked_the_customer_cannot_be_named(join: Join, admin: Client) -> None:
    """A booking that names a technician who blocked the customer is refused with `invalid`, and the reply does not
    mention the block.
    """
    service = await people.make_service(admin)
    carla, tom = await join("customer"), await join("technician")
    await people.approve(tom, admin, service)
    await people.go_online(tom)
    await tom("PUT", f"/v1/me/blocks/{carla.user}")
    booking = {"service": service, "lat": 52.52, "lon": 13.405, "address": "Torstrasse 1", "technician": tom.user}
    refused = await carla("POST", "/v1/jobs", {**booking, "blueprint": "direct_booking"})
    assert code_of(refused) == (422, "invalid") and "block" not in refused.text
