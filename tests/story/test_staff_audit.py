"""The staff of a managed service: onboarding managers decide who may work, operations managers watch and reassign,
admins manage the staff, mediators settle disputes. Each of their changes is in the audit trail.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from engine.process.settings import Settings
from server.api.routes import ROUTES
from tests.story.conftest import PASSWORD, Person, Scenario
from tests.story.test_managed import PLACE, send_command, wait_for_assignment
from tests.support import booked_money
from tests.support.photos import add_photos, tiny_png
from tests.support.wait import wait_until

SERVED = frozenset({"customer", "technician"})
CHANGES_NOTHING = {("POST", "/v1/jobs/preview"), ("POST", "/v1/plans")}
"""A preview and the proposal of a day plan. What a plan changes is recorded when the plan is applied."""
OF_MACHINES = frozenset({"service"})
HOURS = {"tz": "UTC", "week": [{"day": 1, "from": "08:00", "to": "16:00"}]}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    """Return settings whose default blueprint is `managed`."""
    return msgspec.structs.replace(settings, blueprint="managed")


class Trail:
    """The staff, and the entries of the audit trail that their actions must lead to."""

    def __init__(self, scenario: Scenario) -> None:
        self.scenario = scenario
        self.expected: set[tuple[str, str, str]] = set()
        self.routes: set[tuple[str, str]] = set()
        self.leaver = self.applicant = scenario.admin
        """Two technicians: one who is suspended, and one who is reviewed."""

    async def act(
        self, who: Person, method: str, path: str, body: Any, action: str, about: str = "", **of: str
    ) -> dict[str, Any]:
        """Send a request that must succeed, and expect an entry by ``who`` with this action about this id, or about the
        ``id`` in the path. ``of`` are the parameters of the path.
        """
        reply = await who.request(method, path.format(**of), body)
        assert reply.status_code in (200, 201, 202, 204), (path, reply.text)
        made = dict(reply.json()) if reply.headers.get("content-type") == "application/json" else {}
        ids = [value["id"] for value in made.values() if isinstance(value, dict) and "id" in value]
        self.routes.add((method, path))
        self.expected.add((who.actor, action, about or of.get("id") or [*ids, ""][0]))  # type: ignore[attr-defined]
        return made

    async def missing(self) -> set[tuple[str, str, str]]:
        """Return the expected entries that the trail does not have yet."""
        found = set()
        for actor in {each[0] for each in self.expected}:
            path: str | None = f"/v1/audit?actor={actor}&limit=200"
            while path:
                page = await self.scenario.admin.get(path)
                found |= {(entry["actor"], entry["action"], entry["id"] or "") for entry in page["items"]}
                path = f"/v1/audit?actor={actor}&limit=200&cursor={page['next']}" if page["next"] else None
        return {each for each in self.expected if each not in found}


async def member(scenario: Scenario, role: str, name: str) -> Person:
    """Return a member of the staff whose ``actor`` is their name in the audit trail."""
    person = scenario.admin if role == "admin" else await scenario.create_person(role, name)
    person.actor = f"{role}:{person.id}"  # type: ignore[attr-defined]
    return person


async def manage_people(trail: Trail, admin: Person, olga: Person, rita: Person) -> str:
    """Let admins manage staff and services, and an onboarding manager review technicians. Return a service."""
    email = f"{rita.id}@example.org"
    new = {"email": email, "password": PASSWORD, "name": "New", "role": "ops_manager"}
    user = (await admin.post("/v1/users", {**new, "email": f"a{email}"})).json()["user"]["id"]
    hired = await trail.act(admin, "POST", "/v1/users", new, "audit.user_created")
    await trail.act(admin, "PATCH", "/v1/users/{id}", {"role": "mediator"}, "audit.user_changed", id=user)
    await trail.act(olga, "POST", "/v1/users/{id}/suspend", {"reason": "r"}, "audit.user_changed", id=trail.leaver.id)
    await trail.act(admin, "POST", "/v1/users/{id}/reinstate", {}, "audit.user_changed", id=trail.leaver.id)
    gone = hired["user"]["id"]
    await trail.act(admin, "POST", "/v1/users/{id}/erasure", {"reason": "r"}, "audit.erasure_requested", id=gone)
    service = {"name": "Fixing", "category": "home", "base_amount": 5000, "currency": "USD", "pricing": "flat"}
    fixing = str((await trail.act(olga, "POST", "/v1/services", service, "audit.service_created"))["service"]["id"])
    await trail.act(olga, "PATCH", "/v1/services/{id}", {"base_amount": 6000}, "audit.service_changed", id=fixing)
    who = trail.applicant.id
    await trail.act(rita, "PATCH", "/v1/technicians/{id}", {"services": [fixing]}, "audit.technician_changed", id=who)
    headers = {"Authorization": f"Bearer {trail.applicant.bearer}", "Content-Type": "image/png"}
    licence = await rita.http.post(f"/v1/files?for=technician:{who}&kind=licence", content=tiny_png(), headers=headers)
    assert licence.status_code == 201, licence.text
    queue = (await rita.get("/v1/technicians?review=pending"))["items"]
    assert [file["kind"] for each in queue if each["id"] == who for file in each["documents"]] == ["licence"]
    document = await rita.request("GET", f"/v1/files/{licence.json()['file']['id']}")
    assert document.content == tiny_png(), "who reviews reads the documents"
    assert (await olga.request("GET", f"/v1/files/{licence.json()['file']['id']}")).status_code == 404
    for review in ({"kyc": "rejected"}, {"kyc": "approved", "account": "approved"}):
        await trail.act(rita, "POST", "/v1/technicians/{id}/review", review, "technician.reviewed", id=who)
    assert who not in [each["id"] for each in (await rita.get("/v1/technicians?review=pending"))["items"]]
    await trail.act(olga, "PUT", "/v1/technicians/{id}/hours", HOURS, "audit.hours_changed", id=who)
    return fixing


async def manage_work(trail: Trail, olga: Person, carla: Person, fixing: str, tom: Person, tina: Person) -> None:
    """Let an operations manager book, edit, assign, reassign and cancel jobs, and apply a day plan."""
    tomorrow = datetime.now(UTC).date() + timedelta(days=1)
    booking = {**PLACE, "service": fixing, "customer": carla.id, "scheduled_for": f"{tomorrow}T10:00:00Z"}
    job = str((await trail.act(olga, "POST", "/v1/jobs", booking, "job.created"))["job"]["id"])
    await trail.act(olga, "PATCH", "/v1/jobs/{id}", {"notes": "ring twice"}, "job.updated", id=job)
    step = "/v1/jobs/{id}/{command}"
    await trail.act(olga, "POST", step, {"technician": tom.id}, "job.assigned", id=job, command="assign")
    moved = {"technician": tina.id, "reason": "nearer"}
    await trail.act(olga, "POST", "/v1/jobs/{id}/reassign", moved, "job.assigned", id=job)
    await trail.act(olga, "POST", step, {"reason": "ill"}, "job.unassigned", id=job, command="unassign")
    waiting = (await carla.post("/v1/jobs", {name: booking[name] for name in booking if name != "customer"})).json()[
        "job"
    ]["id"]
    wanted = {"zone": "main", "date": str(tomorrow), "budget_s": 0.2}
    plan = (await olga.post("/v1/plans", wanted)).json()["plan"]["id"]
    await wait_until(lambda: has_state(olga, f"/v1/plans/{plan}", "plan", "ready"), what="the plan")
    done = await trail.act(olga, "POST", "/v1/plans/{id}/apply", {}, "job.assigned", waiting, id=plan)
    assert done["applied"] == [0]
    await trail.act(olga, "POST", step, {"reason": "over"}, "job.cancelled", id=job, command="cancel")


async def settle_dispute(trail: Trail, mia: Person, olga: Person, carla: Person, fixing: str) -> None:
    """Let a mediator settle a dispute, after an operations manager has added a member to the room and removed them."""
    booked = await carla.post("/v1/jobs", {**PLACE, "service": fixing})
    job = booked.json()["job"]["id"]
    holder = await wait_for_assignment(trail.scenario, job)
    (worker,) = [person for person in trail.scenario.people if person.id == holder]
    for command in ("accept", "depart", "start"):
        await send_command(worker, job, command)
    await add_photos(worker.http, worker.bearer, job)
    await send_command(worker, job, "finish")
    room = (await carla.get(f"/v1/rooms?job={job}"))["items"][0]["id"]
    await trail.act(olga, "POST", "/v1/rooms/{id}/members", {"user": olga.id}, "room.opened", job, id=room)
    await trail.act(olga, "DELETE", "/v1/rooms/{id}/members/{user}", None, "room.left", job, id=room, user=olga.id)
    opened = await carla.post(f"/v1/jobs/{job}/disputes", {"reason": "it drips"})
    assert opened.status_code == 201, opened.text
    dispute = opened.json()["dispute"]["id"]
    await trail.act(mia, "POST", "/v1/disputes/{id}/take", {}, "mediator.taken", job, id=dispute)
    outcome = {"outcome": "resume", "note": "mended"}
    await trail.act(mia, "POST", "/v1/disputes/{id}/resolve", outcome, "job.resolved", job, id=dispute)


async def pay_out(trail: Trail, olga: Person, tom: Person) -> None:
    """Let an operations manager pay out the earnings of a technician."""
    await booked_money.book_earnings(trail.scenario.server.engine, tom.id, 500)
    wanted = {"technician": tom.id, "amount": 500, "currency": "EUR", "reference": "tr_1"}
    made = await trail.act(olga, "POST", "/v1/payouts", wanted, "payout.requested")
    await trail.act(olga, "POST", "/v1/payouts/{id}", {"status": "paid"}, "payout.paid", id=made["payout"]["id"])


async def has_state(who: Person, path: str, name: str, state: str) -> bool:
    """Return whether the object at ``path`` has this state."""
    return bool((await who.get(path))[name]["state"] == state)


async def test_every_change_of_the_staff_is_in_the_audit(scenario: Scenario) -> None:
    """Each route with which only staff change something is used once, and so is each command of ops, by a user with the
    right role. The trail has an entry by this user for each change.
    """
    trail = Trail(scenario)
    trail.leaver, trail.applicant = [await scenario.create_person("technician", name) for name in ("Lena", "Anna")]
    admin, olga = await member(scenario, "admin", ""), await member(scenario, "ops_manager", "Olga")
    rita, mia = await member(scenario, "onboarding_manager", "Rita"), await member(scenario, "mediator", "Mia")
    carla = await scenario.create_person("customer", "Carla")
    fixing = await manage_people(trail, admin, olga, rita)
    tom = await scenario.create_technician("Tom", fixing)
    tina = await scenario.create_technician("Tina", fixing, lat=40.76)
    await manage_work(trail, olga, carla, fixing, tom, tina)
    await settle_dispute(trail, mia, olga, carla, fixing)
    await pay_out(trail, olga, tom)
    await trail.act(olga, "POST", "/v1/announcements", {"event": "promotion", "data": {"text": "x"}}, "promotion")
    await trail.act(
        olga, "PUT", "/v1/zones/{zone}/pricing", {"max": 1500}, "audit.pricing_changed", "main", zone="main"
    )
    await trail.act(admin, "POST", "/v1/users/{id}/export", {}, "audit.person_exported", id=tina.id)

    missing: set[tuple[str, str, str]] = set()

    async def is_complete() -> bool:
        missing.clear()
        missing.update(await trail.missing())
        return not missing

    try:
        await wait_until(is_complete, within_s=20.0)
    except AssertionError:
        pytest.fail(f"not in the audit trail: {sorted(missing)}")
    of_staff = {
        (route.method, route.path)
        for route in ROUTES
        if route.method != "GET" and route.roles and not set(route.roles) & SERVED and set(route.roles) - OF_MACHINES
    }
    assert of_staff - CHANGES_NOTHING - trail.routes == set(), "routes of staff whose audit entry is not tested"
