"""Tests of disputes: a disputed job is frozen for everybody until a mediator resolves the conflict between its two
sides.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from engine.process.signer import sign_token
from engine.types import Role, UserId
from server.serve import RunningServer
from tests.server.http import market, people
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.server.http.conftest import Book, Join
from tests.support import event_log
from tests.support.wait import wait_until


async def open_dispute(caller: Client, job: str, *, key: str | None = None, **body: Any) -> Any:
    """Open a dispute about a job, and return the response."""
    body = body or {"reason": "The sink still drips"}
    return await caller("POST", f"/v1/jobs/{job}/disputes", body, Idempotency_Key=key or str(uuid.uuid4()))


async def resolve_dispute(caller: Client, dispute: str, outcome: str, *, key: str | None = None, **more: Any) -> Any:
    """Resolve the dispute with the id ``dispute``, and return the response."""
    body = {"outcome": outcome, **more}
    return await caller("POST", f"/v1/disputes/{dispute}/resolve", body, Idempotency_Key=key or str(uuid.uuid4()))


async def book_directly(customer: Client, technician: Client, book: Book, *steps: str) -> str:
    """Book a `direct_booking` that names ``technician``, let them send ``steps``, and return the job's id."""
    job = str((await book(customer, blueprint="direct_booking", technician=technician.user))["id"])
    for step in steps:
        await market.run_command(technician, job, step)
    return job


async def list_disputes(caller: Client) -> set[str]:
    """Return the ids of the open disputes that the user's list contains."""
    return {item["id"] for item in (await caller("GET", "/v1/disputes")).json()["items"]}


@pytest.fixture
def mediator(staff: dict[Role, Client]) -> Client:
    """Return the client of a mediator."""
    return staff["mediator"]


async def test_a_dispute_is_refused(
    customer: Client, technician: Client, book: Book, join: Join, mediator: Client, staff: dict[Role, Client]
) -> None:
    """A dispute is refused without a reason, before the job is accepted, about a job whose blueprint has no disputes,
    by strangers (404) and by staff (403).
    """
    job = await book_directly(customer, technician, book)
    assert pointers(await open_dispute(customer, job, note="x")) == {"/reason", "/note"}
    assert code_of(await open_dispute(customer, job)) == (409, "illegal_transition")
    await market.run_command(technician, job, "accept")
    for role in ("customer", "technician"):
        assert code_of(await open_dispute(await join(role), job)) == (404, "not_found")
    for role in ("admin", "service", "mediator"):
        assert code_of(await open_dispute(staff[role], job)) == (403, "forbidden")
    assert code_of(await mediator("GET", f"/v1/jobs/{job}")) == (404, "not_found")
    home_job = str((await book(customer))["id"])
    assert code_of(await open_dispute(customer, home_job)) == (409, "illegal_transition")
    assert code_of(await open_dispute(await join("customer"), home_job)) == (404, "not_found")
    assert code_of(await staff["service"]("GET", "/v1/disputes")) == (403, "forbidden")


@pytest.mark.parametrize("steps", [("accept",), ("accept", "start")])
async def test_a_disputed_job_is_frozen(
    customer: Client,
    technician: Client,
    book: Book,
    mediator: Client,
    staff: dict[Role, Client],
    steps: tuple[str, ...],
) -> None:
    """While a job is disputed, commands, edits (also one without a change), payments and a second dispute are refused
    with `frozen`, and the job does not change. A mediator may read the job now.
    """
    job = await book_directly(customer, technician, book, *steps)
    body = (await open_dispute(technician, job)).json()
    assert body["job"]["frozen"] is True and body["job"]["actions"] == []
    assert (
        body["dispute"]["by"] == {"id": technician.user, "role": "technician"} and body["dispute"]["status"] == "open"
    )
    now = await market.read_job(mediator, job)
    assert now["frozen"] and now["actions"] == ["resolve_resume", "resolve_cancel", "resolve_complete"]
    step = "start" if len(steps) == 1 else "complete"
    payment = {"reference": "pi_1", "status": "requested", "amount": 1, "currency": "EUR"}
    for refused in (
        await market.send_command(technician, job, step),
        await market.send_command(staff["admin"], job, "cancel"),
        await customer("PATCH", f"/v1/jobs/{job}", {"notes": "x"}),
        await customer("PATCH", f"/v1/jobs/{job}", {}),
        await staff["service"]("POST", f"/v1/jobs/{job}/payments", payment),
        await open_dispute(customer, job),
    ):
        assert code_of(refused) == (409, "frozen")
    assert await market.read_job(mediator, job) == now
    assert body["dispute"]["id"] in await list_disputes(mediator) & await list_disputes(customer) & await list_disputes(
        staff["admin"]
    )


async def test_only_a_mediator_may_resolve(
    customer: Client, technician: Client, book: Book, join: Join, mediator: Client
) -> None:
    """Only a mediator may resolve a dispute, and only with an outcome that the blueprint has. An unknown dispute is
    404, and the lists of other customers do not contain the dispute.
    """
    job = await book_directly(customer, technician, book, "accept")
    name = (await open_dispute(customer, job)).json()["dispute"]["id"]
    for caller in (customer, technician):
        assert code_of(await resolve_dispute(caller, name, "cancel")) == (403, "forbidden")
    assert pointers(await resolve_dispute(mediator, name, "forget")) == {"/outcome"}
    for unknown in ("dsp_main_01jb4zqk3m8r5t7v9x2c6d8f0g", "x"):
        assert code_of(await resolve_dispute(mediator, unknown, "cancel")) == (404, "not_found")
    assert name not in await list_disputes(await join("customer"))


@pytest.mark.parametrize(
    ("outcome", "status", "kind"),
    [
        ("resume", "in_progress", "job.resolved"),
        ("cancel", "cancelled", "job.cancelled"),
        ("complete", "completed", "job.resolved"),
    ],
)
async def test_a_dispute_is_resolved(
    site: RunningServer,
    customer: Client,
    technician: Client,
    book: Book,
    mediator: Client,
    *,
    outcome: str,
    status: str,
    kind: str,
) -> None:
    """The outcome `resume`, `cancel` or `complete` sets the job's status. Both sides receive the event with the
    dispute, and a repeat returns the first reply. A resolved dispute cannot be resolved again.
    """
    job, key = await book_directly(customer, technician, book, "accept", "start"), str(uuid.uuid4())
    dispute = (await open_dispute(customer, job)).json()["dispute"]
    answers = [await resolve_dispute(mediator, dispute["id"], outcome, note="Half each", key=key) for _ in range(2)]
    assert answers[0].json() == answers[1].json() and answers[1].headers["idempotency-replayed"] == "true"
    reply = answers[0].json()
    assert reply["job"]["status"] == status and "frozen" not in reply["job"]
    settled = {**dispute, "status": "resolved", "outcome": outcome, "note": "Half each"}
    assert {name: reply["dispute"][name] for name in settled} == settled
    assert reply["dispute"]["mediator"] == {"id": mediator.user, "role": "mediator"}
    [event] = await market.job_events(site, kind, job)
    assert {f"user:{customer.user}", f"user:{technician.user}"} <= set(event.to)
    assert event_log.payload(event)["dispute"] == reply["dispute"] and event_log.payload(event)["reason"] == "Half each"
    assert dispute["id"] not in await list_disputes(mediator)
    assert code_of(await resolve_dispute(mediator, dispute["id"], "cancel")) == (409, "illegal_transition")
    if outcome == "resume":
        assert (await market.run_command(technician, job, "complete"))["status"] == "completed"
    else:
        assert (await technician("GET", "/v1/me")).json()["technician"]["load"] == 0


async def test_an_old_dispute_cannot_be_resolved_again(
    customer: Client, technician: Client, book: Book, mediator: Client
) -> None:
    """After the first dispute of a job is resolved and a second one opened, resolving the first is refused with 409,
    and the job stays frozen.
    """
    job = await book_directly(customer, technician, book, "accept")
    first = (await open_dispute(customer, job)).json()["dispute"]["id"]
    assert (await resolve_dispute(mediator, first, "resume")).status_code == 200
    second = (await open_dispute(technician, job)).json()["dispute"]["id"]
    assert second != first
    assert code_of(await resolve_dispute(mediator, first, "complete")) == (409, "illegal_transition")
    assert (await market.read_job(customer, job))["frozen"] is True
    assert (await resolve_dispute(mediator, second, "complete")).json()["job"]["status"] == "completed"


async def test_concurrent_disputes_and_outcomes_act_once(
    site: RunningServer, customer: Client, technician: Client, book: Book, mediator: Client
) -> None:
    """One of ten concurrent disputes by both sides is opened, and one of nine concurrent outcomes is accepted."""
    job = await book_directly(customer, technician, book, "accept")
    opened = await asyncio.gather(*(open_dispute(caller, job) for caller in (customer, technician) * 5))
    names = {answer.json()["dispute"]["id"] for answer in opened if answer.is_success}
    assert len(names) == 1 and {code_of(a) for a in opened if not a.is_success} <= {(409, "frozen")}
    ways = ["resume", "cancel", "complete"] * 3
    answers = await asyncio.gather(*(resolve_dispute(mediator, names.copy().pop(), way) for way in ways))
    assert {answer.status_code for answer in answers} == {200, 409}
    events = [*await market.job_events(site, "job.resolved", job), *await market.job_events(site, "job.cancelled", job)]
    assert len(events) == 1


async def test_one_of_two_mediators_takes_a_dispute(
    customer: Client, technician: Client, book: Book, mediator: Client, site: RunningServer, admin: Client
) -> None:
    """Only a mediator or ops may take a dispute. Of two mediators who take it at once exactly one gets it, and only
    they may resolve it; requests of the other are refused with `taken`. Ops may take it from the mediator.
    """
    job = await book_directly(customer, technician, book, "accept")
    path = f"/v1/disputes/{(await open_dispute(customer, job)).json()['dispute']['id']}"
    for caller in (customer, technician):
        assert code_of(await caller("POST", f"{path}/take")) == (403, "forbidden")
    assert code_of(await mediator("POST", "/v1/disputes/dsp_x/take")) == (404, "not_found")
    account = {
        "email": f"{uuid.uuid4().hex}@example.org",
        "password": "correct horse",
        "name": "Mo",
        "role": "mediator",
    }
    user = str((await admin("POST", "/v1/users", account)).json()["user"]["id"])
    other = Client(mediator.http, sign_token(site.engine.signer, UserId(user), "mediator"), user)
    answers = await asyncio.gather(*(one("POST", f"{path}/take") for one in (mediator, other)))
    assert sorted(answer.status_code for answer in answers) == [200, 409]
    won, lost = (mediator, other) if answers[0].is_success else (other, mediator)
    reply = next(answer.json() for answer in answers if answer.is_success)
    assert reply["dispute"]["mediator"] == {"id": won.user, "role": "mediator"}
    assert [member["id"] for member in reply["room"]["members"]] == [customer.user, technician.user, won.user]
    assert code_of(await lost("POST", f"{path}/resolve", {"outcome": "resume"})) == (409, "taken")
    assert (await admin("POST", f"{path}/take")).is_success
    assert code_of(await won("GET", f"/v1/rooms/{reply['room']['id']}")) == (403, "not_member")
    assert code_of(await won("POST", f"{path}/resolve", {"outcome": "resume"})) == (409, "taken")
    assert (await admin("POST", f"{path}/resolve", {"outcome": "complete"})).is_success


async def test_a_blueprint_may_have_a_state_for_disputes(
    customer: Client, join: Join, book: Book, mediator: Client, admin: Client
) -> None:
    """In the blueprint `managed` a dispute moves a job from `work_done` to `disputed`. `resume` moves the job back,
    `cancel` ends it, and `complete`, which the blueprint does not have, is refused.
    """
    fresh, worker = await people.make_service(admin), await join("technician")
    await people.approve(worker, admin, fresh)
    await people.go_online(worker)
    body = {"service": fresh, **HERE, "address": "Torstrasse 1", "blueprint": "managed"}
    job = str((await customer("POST", "/v1/jobs", body)).json()["job"]["id"])

    async def is_assigned() -> bool:
        return (await market.read_job(customer, job))["status"] == "assigned"

    await wait_until(is_assigned, what="the engine's choice")
    for step in ("accept", "depart", "start"):
        await market.run_command(worker, job, step)
    await market.add_photos(worker, job)
    await market.run_command(worker, job, "finish")
    assert code_of(await open_dispute(worker, job)) == (403, "forbidden")
    reply = (await open_dispute(customer, job)).json()
    assert (reply["job"]["status"], reply["job"]["frozen"]) == ("disputed", True)
    assert code_of(await market.send_command(customer, job, "sign")) == (409, "frozen")
    resolution = (await resolve_dispute(mediator, reply["dispute"]["id"], "resume")).json()
    assert resolution["job"]["status"] == "work_done"
    again = (await open_dispute(customer, job)).json()["dispute"]["id"]
    assert pointers(await resolve_dispute(mediator, again, "complete")) == {"/outcome"}
    assert (await resolve_dispute(mediator, again, "cancel")).json()["job"]["status"] == "cancelled"
