"""Price proposals: one side of a job proposes another price, and the other side accepts or rejects it until work
starts.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from engine.idempotency.in_redis import parse_job_id
from engine.store import keys
from engine.types import Role
from server.serve import RunningServer
from tests.server.http import market
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book, Join
from tests.support import event_log


async def propose_price(who: Client, job: str, amount: Any, *, key: str | None = None, **more: Any) -> Any:
    """Send a price proposal, with a fresh key unless one is given."""
    body = {"amount": amount, **more}
    return await who("POST", f"/v1/jobs/{job}/price-proposals", body, Idempotency_Key=key or str(uuid.uuid4()))


async def create_proposal(who: Client, job: str, amount: int, **more: Any) -> str:
    """Create a price proposal and return its id."""
    answer = await propose_price(who, job, amount, **more)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["proposal"]["id"])


async def answer_proposal(
    who: Client, job: str, proposal: str, answer: str, *, key: str | None = None, **more: Any
) -> Any:
    """Answer a proposal with ``answer``: ``accept`` or ``reject``."""
    path = f"/v1/jobs/{job}/price-proposals/{proposal}/{answer}"
    return await who("POST", path, more, Idempotency_Key=key or str(uuid.uuid4()))


@pytest.mark.parametrize("amount", [None, -1, 1.5, "12", 10**13])
async def test_an_invalid_amount_is_refused(customer: Client, amount: Any) -> None:
    """An amount must be a whole number of minor units, from 0 to the limit; any other amount is refused at
    `/amount`.
    """
    assert pointers(await propose_price(customer, "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g", amount)) == {"/amount"}


async def test_who_may_propose_and_when(
    customer: Client, technician: Client, book: Book, join: Join, staff: dict[Role, Client]
) -> None:
    """A proposal by staff is `forbidden`, by a stranger `not_found`. Before a technician accepts, and after the start
    code, a proposal is refused.
    """
    job = await market.book_for_technician(customer, technician, book)
    name = str(job["id"])
    assert code_of(await propose_price(customer, name, 1)) == (409, "illegal_transition")
    assert code_of(await propose_price(technician, name, 1)) == (404, "not_found")
    await market.run_command(technician, name, "accept")
    for role in ("admin", "service", "mediator"):
        assert code_of(await propose_price(staff[role], name, 1)) == (403, "forbidden")
    for role in ("customer", "technician"):
        assert code_of(await propose_price(await join(role), name, 1)) == (404, "not_found")
    late_proposal = await create_proposal(technician, name, 7000)
    await market.run_command(technician, name, "start", code=(await market.read_codes(customer, name))["start"])
    assert code_of(await propose_price(technician, name, 1)) == (409, "price_locked")
    assert code_of(await answer_proposal(customer, name, late_proposal, "accept")) == (409, "price_locked")
    assert (await market.read_job(customer, name))["amount"] == 9000


async def test_only_the_other_side_answers(customer: Client, technician: Client, book: Book) -> None:
    """The side that made a proposal may not answer it. A job has at most one open proposal, and a proposal is answered
    once.
    """
    job = await market.book_and_accept(customer, technician, book)
    first = await create_proposal(technician, job, 12_000, reason="More pipes than you said")
    assert code_of(await answer_proposal(technician, job, first, "accept")) == (403, "forbidden")
    for who in (technician, customer):
        assert code_of(await propose_price(who, job, 1)) == (409, "duplicate")
    assert code_of(await answer_proposal(customer, job, "prc_none", "accept")) == (404, "not_found")
    assert (await answer_proposal(customer, job, first, "reject")).status_code == 200
    assert code_of(await answer_proposal(customer, job, first, "accept")) == (409, "illegal_transition")
    second = await create_proposal(customer, job, 8_000)
    assert code_of(await answer_proposal(technician, job, first, "accept")) == (404, "not_found")
    stale = await answer_proposal(technician, job, second, "accept", version=99)
    assert code_of(stale) == (412, "version_conflict") and stale.json()["job"]["amount"] == 9000
    assert (await answer_proposal(technician, job, second, "accept")).json()["job"]["amount"] == 8_000


async def test_an_accepted_proposal_changes_the_price_once(
    site: RunningServer, customer: Client, technician: Client, book: Book
) -> None:
    """An accepted proposal becomes the job's amount. Both sides receive `price.proposed` and `price.changed`, and
    repeats return the first reply.
    """
    job, keys = await market.book_and_accept(customer, technician, book), [str(uuid.uuid4()) for _ in range(2)]
    first = [await propose_price(technician, job, 12_000, reason="Pipes", key=keys[0]) for _ in range(2)]
    assert first[0].json() == first[1].json() and first[1].headers["idempotency-replayed"] == "true"
    assert code_of(await propose_price(technician, job, 1, key=keys[0])) == (422, "reused_key")
    proposal = first[0].json()["proposal"]
    assert (proposal["amount"], proposal["reason"], proposal["status"]) == (12_000, "Pipes", "open")
    assert proposal["by"] == {"id": technician.user, "role": "technician"}
    assert first[0].json()["job"]["version"] == 2 and first[0].json()["job"]["amount"] == 9000
    answers = [
        await answer_proposal(customer, job, proposal["id"], "accept", key=key) for key in (keys[1], keys[1], None)
    ]
    assert [answer.json()["proposal"] for answer in answers] == [{**proposal, "status": "accepted"}] * 3
    assert answers[0].json()["job"]["amount"] == 12_000 and answers[0].json()["job"]["version"] == 3
    assert "codes" in answers[0].json()["job"]
    [proposed_event], [changed_event] = [
        await market.job_events(site, kind, job) for kind in ("price.proposed", "price.changed")
    ]
    assert {f"user:{customer.user}", f"user:{technician.user}"} <= set(proposed_event.to) & set(changed_event.to)
    view = site.engine.blueprints.client_event(changed_event.blueprint_key, changed_event.type, changed_event.data)
    name, data = view[0], event_log.orjson.loads(view[1])
    assert (name, data["jobId"], data["newAmount"], data["paymentIntentUpdated"]) == (
        "PRICE_CHANGED",
        job,
        12_000,
        True,
    )
    rows = (await customer("GET", f"/v1/jobs/{job}")).json()["job"]
    assert rows["amount"] == 12_000


async def test_one_of_concurrent_answers_counts(customer: Client, technician: Client, book: Book) -> None:
    """Of ten concurrent accepts and ten rejects, all of one kind succeed and all of the other are refused with 409. The
    amount matches.
    """
    job = await market.book_and_accept(customer, technician, book)
    name = await create_proposal(technician, job, 5)
    words = ["accept", "reject"] * 10
    answers = await asyncio.gather(*(answer_proposal(customer, job, name, word) for word in words))
    accepted = {word for word, answer in zip(words, answers, strict=True) if answer.status_code == 200}
    assert len(accepted) == 1 and [answer.status_code for answer in answers].count(409) == 10
    assert (await market.read_job(customer, job))["amount"] == (5 if accepted == {"accept"} else 9000)


async def test_one_of_concurrent_proposals_is_open(customer: Client, technician: Client, book: Book) -> None:
    """Of eight concurrent proposals by both sides one is accepted, and the others are refused with 409."""
    job = await market.book_and_accept(customer, technician, book)
    answers = await asyncio.gather(*(propose_price(who, job, 5) for who in (customer, technician) * 4))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


async def test_a_proposal_ends_when_the_technician_leaves(
    site: RunningServer, customer: Client, technician: Client, book: Book
) -> None:
    """When the technician is unassigned, the open proposal is deleted and can no longer be answered."""
    job = await market.book_and_accept(customer, technician, book)
    void = await create_proposal(customer, job, 1)
    await market.run_command(customer, job, "unassign")
    assert code_of(await answer_proposal(technician, job, void, "accept")) == (404, "not_found")
    assert code_of(await propose_price(customer, job, 2)) == (409, "illegal_transition")
    zone, parsed_id = parse_job_id(job)
    assert await site.engine.store.redis.hget(keys.job(zone, parsed_id), "proposal") is None
