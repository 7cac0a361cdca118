"""Devices of users: each has a push token, which no other user's push contains and no reply shows."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from sqlalchemy import update

from engine.identity import devices
from engine.sql.device_tables import devices as table
from engine.types import Role
from server.serve import RunningServer
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Join


def new_token() -> str:
    """Return a push token that no device has."""
    return f"tok:{uuid.uuid4().hex}"


async def put_device(client: Client, name: str = "phone", **changes: Any) -> str:
    """Store a device of the client's user, and return its token."""
    body = {"platform": "ios", "token": new_token(), **changes}
    answer = await client("PUT", f"/v1/devices/{name}", body)
    assert answer.status_code == 200 and body["token"] not in answer.text, answer.text
    return str(body["token"])


async def push_devices(site: RunningServer, client: Client) -> dict[str, str]:
    """Return the tokens that a push to the client's user contains, by the id of the device."""
    to = (await devices.find_push_addresses(site.engine.archive, [client.user])).get(client.user)
    return {device.id: device.token for device in to.devices} if to else {}


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ({}, {"/platform", "/token"}),
        ({"platform": "iOS", "token": "a"}, {"/platform"}),
        ({"platform": "ios", "token": "two words"}, {"/token"}),
        ({"platform": "ios", "token": ""}, {"/token"}),
        ({"platform": "ios", "token": "t" * 4097}, {"/token"}),
        ({"platform": "ios", "token": "t\n"}, {"/token"}),
        ({"platform": "ios", "token": "a", "user": "usr_x"}, {"/user"}),
        ({"platform": "webpush", "token": "tok:1"}, {"/token"}),
    ],
)
async def test_a_wrong_device_is_refused(site: RunningServer, customer: Client, body: Any, wrong: set[str]) -> None:
    """A wrong field is named, and the device that was there before stays."""
    token = await put_device(customer)
    assert pointers(await customer("PUT", "/v1/devices/phone", body)) == wrong
    assert await push_devices(site, customer) == {"phone": token}


async def test_only_own_devices_can_be_removed(
    site: RunningServer, nobody: Client, customer: Client, join: Join, staff: dict[Role, Client]
) -> None:
    """The device of another user is refused with 404, also for an admin. Without a token the routes refuse the request.
    A malformed device id is refused.
    """
    token, other = await put_device(customer), await join("customer")
    for caller in (other, staff["admin"]):
        assert code_of(await caller("DELETE", "/v1/devices/phone")) == (404, "not_found")
    assert (await nobody("PUT", "/v1/devices/phone", {"platform": "ios", "token": "a"})).status_code == 401
    assert (await nobody("DELETE", "/v1/devices/phone")).status_code == 401
    assert pointers(await customer("PUT", "/v1/devices/a@1", {"platform": "ios", "token": "a"})) == {"/id"}
    assert await push_devices(site, customer) == {"phone": token}
    assert (await customer("DELETE", "/v1/devices/phone")).status_code == 204
    assert code_of(await customer("DELETE", "/v1/devices/phone")) == (404, "not_found")
    assert await push_devices(site, customer) == {}


async def test_a_token_that_moves_leaves_the_first_user(site: RunningServer, customer: Client, join: Join) -> None:
    """A token belongs to the last device that sent it, of any user. Devices with the same id do not disturb each
    other.
    """
    other = await join("technician")
    first, tablet = await put_device(customer), await put_device(customer, "tablet")
    await put_device(other, token=first)
    assert await push_devices(site, customer) == {"tablet": tablet}
    assert await push_devices(site, other) == {"phone": first}
    await put_device(customer, "new-phone", token=tablet)
    assert await push_devices(site, customer) == {"new-phone": tablet}


async def test_a_repeat_with_its_key_does_not_take_the_token_back(
    site: RunningServer, customer: Client, join: Join
) -> None:
    """A request that is sent again with its key after the token moved changes nothing. The key with another token is
    refused.
    """
    key, other, body = str(uuid.uuid4()), await join("customer"), {"platform": "web", "token": new_token()}
    first = await customer("PUT", "/v1/devices/phone", body, Idempotency_Key=key)
    await put_device(other, token=body["token"])
    again = await customer("PUT", "/v1/devices/phone", body, Idempotency_Key=key)
    assert again.json() == first.json() and again.headers["idempotency-replayed"] == "true"
    assert await push_devices(site, other) == {"phone": body["token"]}
    reused = await customer("PUT", "/v1/devices/phone", {**body, "token": "x"}, Idempotency_Key=key)
    assert code_of(reused) == (422, "reused_key")


async def test_one_device_too_many_replaces_the_oldest(site: RunningServer, customer: Client) -> None:
    """A user has at most `MAX_DEVICES` devices: a further one replaces the device whose token was sent longest ago."""
    for number in range(devices.MAX_DEVICES):
        await put_device(customer, f"d{number}")
        async with site.engine.archive.begin_write() as conn:
            await conn.execute(update(table).where(table.c.user == customer.user).values(at=table.c.at - 1_000))
    await put_device(customer, "d0")
    await put_device(customer, "new")
    left = await push_devices(site, customer)
    assert len(left) == devices.MAX_DEVICES and {"d0", "new"} < set(left) and "d1" not in left


async def test_a_suspended_account_has_no_push_devices(
    site: RunningServer, customer: Client, staff: dict[Role, Client]
) -> None:
    """While an account is suspended no push goes to its devices; after it is reinstated they are used again."""
    token = await put_device(customer)
    await staff["admin"]("POST", f"/v1/users/{customer.user}/suspend", {"reason": "x", "jobs": "keep"})
    to = (await devices.find_push_addresses(site.engine.archive, [customer.user]))[customer.user]
    assert (to.active, to.devices) == (False, ())
    await staff["admin"]("POST", f"/v1/users/{customer.user}/reinstate", {})
    assert await push_devices(site, customer) == {"phone": token}
