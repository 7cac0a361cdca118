"""Tests over HTTP of day plans: the fields of refusals, and a plan from its request to its application."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from engine.types import Role
from tests.server.http import people
from tests.server.http.client import Client, code_of
from tests.server.http.conftest import Join
from tests.support.wait import wait_until

DAY = (datetime.now(UTC) + timedelta(days=9)).date().isoformat()


async def test_what_is_wrong_is_named(staff: dict[Role, Client]) -> None:
    """A wrong field of a plan is named by its pointer, and a plan that does not exist is not found."""
    admin = staff["admin"]
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"zone": "nowhere"}, "/zone"),
        ({"date": "2020-01-01"}, "/date"),
        ({"date": "tomorrow"}, "/date"),
        ({"technicians": ["ghost"]}, "/technicians/0"),
        ({"technicians": []}, "/technicians"),
        ({"fixed": "all"}, "/fixed"),
        ({"budget_s": 60}, "/budget_s"),
        ({"dry_run": True}, "/dry_run"),
    ]
    for change, pointer in wrong:
        answer = await admin("POST", "/v1/plans", {"zone": "main", "date": DAY, **change})
        assert code_of(answer) == (422, "invalid"), answer.text
        assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    for method, path in (("GET", "/v1/plans/x"), ("POST", "/v1/plans/plan_main_01jb4zqk3m8r5t7v9x2c6d8f0g/apply")):
        assert code_of(await admin(method, path)) == (404, "not_found")


async def test_a_plan_is_computed_and_applied(staff: dict[Role, Client], join: Join) -> None:
    """A waiting job is given to the technician who can do it. The request is answered before the plan is computed, and
    a repeat returns the same plan. A plan is applied once.
    """
    admin, carla, tom = staff["ops_manager"], await join("customer"), await join("technician")
    service = await people.make_service(staff["admin"])
    await people.approve(tom, staff["admin"], service)
    booked = await people.book(carla, service, blueprint="managed", scheduled_for=f"{DAY}T09:00:00Z")
    body = {"zone": "main", "date": DAY, "technicians": [tom.user], "budget_s": 0.1}
    key = str(uuid.uuid4())
    asked = await admin("POST", "/v1/plans", body, Idempotency_Key=key)
    plan = asked.json()["plan"]
    assert (asked.status_code, asked.headers["location"]) == (202, f"/v1/plans/{plan['id']}")
    assert (plan["state"], plan["date"]) == ("computing", DAY)
    again = await admin("POST", "/v1/plans", body, Idempotency_Key=key)
    assert again.json()["plan"]["id"] == plan["id"] and again.headers["idempotency-replayed"] == "true"

    async def is_ready() -> bool:
        plan.update((await admin("GET", f"/v1/plans/{plan['id']}")).json()["plan"])
        return bool(plan["state"] == "ready")

    await wait_until(is_ready, what="the plan")
    moves = [move for group in plan["groups"] for move in group["moves"] if move["job"] == booked["id"]]
    assert moves == [{"job": booked["id"], "version": 1, "from": None, "to": tom.user, "at": f"{DAY}T09:00:00.000Z"}]
    assert plan["expires_at"] > datetime.now(UTC).isoformat()
    applied = (await admin("POST", f"/v1/plans/{plan['id']}/apply")).json()
    assert applied == {"applied": list(range(len(plan["groups"]))), "refused": []}
    job = (await carla("GET", f"/v1/jobs/{booked['id']}")).json()["job"]
    assert (job["status"], job["technician"]["id"]) == ("assigned", tom.user)
    assert (await admin("POST", f"/v1/plans/{plan['id']}/apply")).json() == applied
