"""Presence over HTTP: who may ask about whom, and that a request is a sign of life."""

from __future__ import annotations

from typing import Any

import pytest

from engine.store import keys
from engine.types import DEFAULT_ZONE, Role, room_of
from server.serve import RunningServer
from tests.server.http import people
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book, Join


async def ask(client: Client, *users: str) -> list[dict[str, Any]]:
    """Return the items of the reply about ``users``."""
    answer = await client("GET", f"/v1/presence?users={','.join(users)}")
    assert answer.status_code == 200, answer.text
    items: list[dict[str, Any]] = answer.json()["items"]
    return items


@pytest.mark.parametrize("query", ["", "?users=", "?users=a,,b", "?users=a%20b", "?users=" + ",".join(["u"] * 101)])
async def test_a_wrong_list_of_users_is_refused(customer: Client, nobody: Client, query: str) -> None:
    """A request is refused if it names no user, a malformed id or more than 100 users, and if it has no token."""
    assert pointers(await customer("GET", f"/v1/presence{query}")) == {"/users"}
    assert (await nobody("GET", f"/v1/presence{query}")).status_code == 401


async def test_only_who_shares_a_live_job_and_ops_are_answered(
    site: RunningServer, customer: Client, technician: Client, join: Join, staff: dict[Role, Client], book: Book
) -> None:
    """The customer and the technician see each other while their chat room is open, and also without it from the
    departure to the end of the work. Strangers and services are left out. Everybody sees themself, and ops see all.
    """
    stranger, (tom, carla) = await join("technician"), (technician.user, customer.user)
    job = await book(customer)
    await people.wait_for_offer(technician, job["id"])

    async def sees_each_other() -> list[int]:
        return [len(await ask(customer, tom, "usr_none")), len(await ask(technician, carla))]

    assert await sees_each_other() == [0, 0]
    await technician("POST", f"/v1/jobs/{job['id']}/claim")
    assert await sees_each_other() == [1, 1]
    await site.engine.store.redis.hset(keys.room(DEFAULT_ZONE, room_of(job["id"])), "state", "closed")  # type: ignore[misc]
    assert await sees_each_other() == [0, 0]
    await technician("POST", f"/v1/jobs/{job['id']}/depart")
    assert await sees_each_other() == [1, 1]
    for caller in (stranger, staff["service"], staff["mediator"]):
        assert [item["user"] for item in await ask(caller, tom, caller.user, carla)] == [caller.user]
    assert [item["user"] for item in await ask(staff["ops_manager"], tom, carla, tom)] == [tom, carla]
    for step in ("arrive", "start", "complete"):
        assert (await technician("POST", f"/v1/jobs/{job['id']}/{step}")).status_code == 200
    assert await sees_each_other() == [0, 0]


async def test_a_request_is_a_sign_of_life(
    site: RunningServer, staff: dict[Role, Client], join: Join, customer: Client
) -> None:
    """A user is online after a request in any role, and offline if they send none. The reply has the time of the last
    request."""
    assert site.gateway is not None
    silent, admin = await join("customer"), staff["admin"]
    await customer("GET", "/v1/me")
    await site.gateway.wheel.signs_of_life.write()
    active, other = await ask(admin, customer.user, silent.user)
    assert active["online"] and active["last_seen"].endswith("Z")
    assert other == {"user": silent.user, "online": False, "last_seen": None}
    assert code_of(await customer("POST", "/v1/presence", {})) == (405, "method_not_allowed")
