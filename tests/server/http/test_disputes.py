"""Disputes: a job stands still for everybody until a mediator has settled what its two sides could not."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from engine.types import Role
from server.serve import Running
from tests.server.http import market, people
from tests.server.http.client import HERE, Client, code_of, pointers
from tests.server.http.conftest import Book, Join
from tests.support import event_log
from tests.support.wait import wait_until


async def dispute(who: Client, job: str, *, key: str | None = None, **body: Any) -> Any:
    """One dispute opened."""
    body = body or {"reason": "The sink still drips"}
    return await who("POST", f"/v1/jobs/{job}/disputes", body, Idempotency_Key=key or str(uuid.uuid4()))


async def resolve(who: Client, name: str, outcome: str, *, key: str | None = None, **more: Any) -> Any:
    """One dispute settled."""
    body = {"outcome": outcome, **more}
    return await who("POST", f"/v1/disputes/{name}/resolve", body, Idempotency_Key=key or str(uuid.uuid4()))


async def direct(customer: Client, technician: Client, book: Book, *steps: str) -> str:
    """A direct booking taken as far as ``steps``."""
    job = str((await book(customer, blueprint="direct_booking", technician=technician.user))["id"])
    for step in steps:
        await market.run_command(technician, job, step)
    return job


async def listed(who: Client) -> set[str]:
    """The open disputes that this person is shown."""
    return {item["id"] for item in (await who("GET", "/v1/disputes")).json()["items"]}


@pytest.fixture
def mediator(staff: dict[Role, Client]) -> Client:
    """A mediator."""
    return staff["mediator"]


async def test_refused(
    customer: Client, at_work: Client, book: Book, join: Join, mediator: Client, staff: dict[Role, Client]
) -> None:
    """Without a reason, before it is accepted, by strangers and staff, and about jobs that have no disputes."""
    job = await direct(customer, at_work, book)
    assert pointers(await dispute(customer, job, note="x")) == {"/reason", "/note"}
    assert code_of(await dispute(customer, job)) == (409, "illegal_transition")
    await market.run_command(at_work, job, "accept")
    for role in ("customer", "technician"):
        assert code_of(await dispute(await join(role), job)) == (404, "not_found")
    for role in ("admin", "service", "mediator"):
        assert code_of(await dispute(staff[role], job)) == (403, "forbidden")
    assert code_of(await mediator("GET", f"/v1/jobs/{job}")) == (404, "not_found")
    plain = str((await book(customer))["id"])
    assert code_of(await dispute(customer, plain)) == (409, "illegal_transition")
    assert code_of(await dispute(await join("customer"), plain)) == (404, "not_found")
    assert code_of(await staff["service"]("GET", "/v1/disputes")) == (403, "forbidden")


@pytest.mark.parametrize("steps", [("accept",), ("accept", "start")])
async def test_everything_else_is_frozen(
    customer: Client, at_work: Client, book: Book, mediator: Client, staff: dict[Role, Client], steps: tuple[str, ...]
) -> None:
    """Steps, edits, asking for a payment, another dispute: `frozen`, and nothing moves; a mediator may read it now."""
    job = await direct(customer, at_work, book, *steps)
    told = (await dispute(at_work, job)).json()
    assert told["job"]["frozen"] is True and told["job"]["actions"] == []
    assert told["dispute"]["by"] == {"id": at_work.user, "role": "technician"} and told["dispute"]["status"] == "open"
    now = await market.read_job(mediator, job)
    assert now["frozen"] and now["actions"] == ["resolve_resume", "resolve_cancel", "resolve_complete"]
    step = "start" if len(steps) == 1 else "complete"
    payment = {"reference": "pi_1", "status": "requested", "amount": 1, "currency": "EUR"}
    for refused in (
        await market.send_command(at_work, job, step),
        await market.send_command(staff["admin"], job, "cancel"),
        await customer("PATCH", f"/v1/jobs/{job}", {"notes": "x"}),
        await staff["service"]("POST", f"/v1/jobs/{job}/payments", payment),
        await dispute(customer, job),
    ):
        assert code_of(refused) == (409, "frozen")
    assert await market.read_job(mediator, job) == now
    assert told["dispute"]["id"] in await listed(mediator) & await listed(customer) & await listed(staff["admin"])


async def test_who_may_settle_and_how(
    customer: Client, at_work: Client, book: Book, join: Join, mediator: Client
) -> None:
    """Mediators alone, in the ways that the blueprint knows; strangers see nothing of it."""
    job = await direct(customer, at_work, book, "accept")
    name = (await dispute(customer, job)).json()["dispute"]["id"]
    for who in (customer, at_work):
        assert code_of(await resolve(who, name, "cancel")) == (403, "forbidden")
    assert pointers(await resolve(mediator, name, "forget")) == {"/outcome"}
    for unknown in ("dsp_main_01jb4zqk3m8r5t7v9x2c6d8f0g", "x"):
        assert code_of(await resolve(mediator, unknown, "cancel")) == (404, "not_found")
    assert name not in await listed(await join("customer"))


@pytest.mark.parametrize(
    ("outcome", "status", "kind"),
    [
        ("resume", "in_progress", "job.resolved"),
        ("cancel", "cancelled", "job.cancelled"),
        ("complete", "completed", "job.resolved"),
    ],
)
async def test_settled(
    site: Running,
    customer: Client,
    at_work: Client,
    book: Book,
    mediator: Client,
    *,
    outcome: str,
    status: str,
    kind: str,
) -> None:
    """The job goes on, is cancelled or done; both sides hear it with the dispute; repeats answer as the first did."""
    job, key = await direct(customer, at_work, book, "accept", "start"), str(uuid.uuid4())
    opened = (await dispute(customer, job)).json()["dispute"]
    answers = [await resolve(mediator, opened["id"], outcome, note="Half each", key=key) for _ in range(2)]
    assert answers[0].json() == answers[1].json() and answers[1].headers["idempotency-replayed"] == "true"
    told = answers[0].json()
    assert told["job"]["status"] == status and "frozen" not in told["job"]
    settled = {**opened, "status": "resolved", "outcome": outcome, "note": "Half each"}
    assert {name: told["dispute"][name] for name in settled} == settled
    assert told["dispute"]["mediator"] == {"id": mediator.user, "role": "mediator"}
    [event] = await market.job_events(site, kind, job)
    assert {f"user:{customer.user}", f"user:{at_work.user}"} <= set(event.to)
    assert event_log.payload(event)["dispute"] == told["dispute"] and event_log.payload(event)["reason"] == "Half each"
    assert opened["id"] not in await listed(mediator)
    assert code_of(await resolve(mediator, opened["id"], "cancel")) == (409, "illegal_transition")
    if outcome == "resume":
        assert (await market.run_command(at_work, job, "complete"))["status"] == "completed"
    else:
        assert (await at_work("GET", "/v1/me")).json()["technician"]["load"] == 0


async def test_an_old_dispute_does_not_settle_a_new_one(
    customer: Client, at_work: Client, book: Book, mediator: Client
) -> None:
    """Resumed and disputed again: the id of the first one settles nothing more."""
    job = await direct(customer, at_work, book, "accept")
    first = (await dispute(customer, job)).json()["dispute"]["id"]
    assert (await resolve(mediator, first, "resume")).status_code == 200
    second = (await dispute(at_work, job)).json()["dispute"]["id"]
    assert second != first
    assert code_of(await resolve(mediator, first, "complete")) == (409, "illegal_transition")
    assert (await market.read_job(customer, job))["frozen"] is True
    assert (await resolve(mediator, second, "complete")).json()["job"]["status"] == "completed"


async def test_of_many_at_once_one_is_opened_and_one_settles_it(
    site: Running, customer: Client, at_work: Client, book: Book, mediator: Client
) -> None:
    """Both sides at once, then every outcome at once."""
    job = await direct(customer, at_work, book, "accept")
    opened = await asyncio.gather(*(dispute(who, job) for who in (customer, at_work) * 5))
    names = {answer.json()["dispute"]["id"] for answer in opened if answer.is_success}
    assert len(names) == 1 and {code_of(a) for a in opened if not a.is_success} <= {(409, "frozen")}
    ways = ["resume", "cancel", "complete"] * 3
    answers = await asyncio.gather(*(resolve(mediator, names.copy().pop(), way) for way in ways))
    assert {answer.status_code for answer in answers} == {200, 409}
    done = [*await market.job_events(site, "job.resolved", job), *await market.job_events(site, "job.cancelled", job)]
    assert len(done) == 1


async def test_where_a_state_stands_for_it(
    customer: Client, join: Join, book: Book, mediator: Client, admin: Client
) -> None:
    """A blueprint may move the job: work that is done is disputed, and goes back there or ends."""
    fresh, worker = await people.make_service(admin), await join("technician")
    await people.approve(worker, admin, fresh)
    await people.go_online(worker)
    body = {"service": fresh, **HERE, "address": "Torstrasse 1", "blueprint": "managed"}
    job = str((await customer("POST", "/v1/jobs", body)).json()["job"]["id"])

    async def assigned() -> bool:
        return (await market.read_job(customer, job))["status"] == "assigned"

    await wait_until(assigned, what="the engine's choice")
    for step in ("accept", "depart", "start", "finish"):
        await market.run_command(worker, job, step)
    assert code_of(await dispute(worker, job)) == (403, "forbidden")
    told = (await dispute(customer, job)).json()
    assert (told["job"]["status"], told["job"]["frozen"]) == ("disputed", True)
    assert code_of(await market.send_command(customer, job, "sign")) == (409, "frozen")
    back = (await resolve(mediator, told["dispute"]["id"], "resume")).json()
    assert back["job"]["status"] == "work_done"
    again = (await dispute(customer, job)).json()["dispute"]["id"]
    assert pointers(await resolve(mediator, again, "complete")) == {"/outcome"}
    assert (await resolve(mediator, again, "cancel")).json()["job"]["status"] == "cancelled"
