"""Another price: proposed by one side, answered by the other, in the time in which it may be talked of."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from engine.idempotency.in_redis import parse_job_id
from engine.store import keys
from engine.types import Role
from server.serve import Running
from tests.server.http import market
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book, Join
from tests.support import event_log


async def propose(who: Client, job: str, amount: Any, *, key: str | None = None, **more: Any) -> Any:
    """One proposal."""
    body = {"amount": amount, **more}
    return await who("POST", f"/v1/jobs/{job}/price-proposals", body, Idempotency_Key=key or str(uuid.uuid4()))


async def proposed(who: Client, job: str, amount: int, **more: Any) -> str:
    """A proposal that was taken; gives its id."""
    answer = await propose(who, job, amount, **more)
    assert answer.status_code == 201, answer.text
    return str(answer.json()["proposal"]["id"])


async def answered(who: Client, job: str, proposal: str, word: str, *, key: str | None = None, **more: Any) -> Any:
    """One answer, ``accept`` or ``reject``."""
    path = f"/v1/jobs/{job}/price-proposals/{proposal}/{word}"
    return await who("POST", path, more, Idempotency_Key=key or str(uuid.uuid4()))


@pytest.mark.parametrize("amount", [None, -1, 1.5, "12", 10**13])
async def test_what_is_no_amount(customer: Client, amount: Any) -> None:
    """Whole minor units, not below nothing."""
    assert pointers(await propose(customer, "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g", amount)) == {"/amount"}


async def test_who_and_when_not(
    customer: Client, at_work: Client, book: Book, join: Join, staff: dict[Role, Client]
) -> None:
    """Staff are forbidden, strangers find no job; nothing while it is open, or after the start code."""
    job = await market.book_for_technician(customer, at_work, book)
    name = str(job["id"])
    assert code_of(await propose(customer, name, 1)) == (409, "illegal_transition")
    assert code_of(await propose(at_work, name, 1)) == (404, "not_found")
    await market.run_command(at_work, name, "accept")
    for role in ("admin", "service", "mediator"):
        assert code_of(await propose(staff[role], name, 1)) == (403, "forbidden")
    for role in ("customer", "technician"):
        assert code_of(await propose(await join(role), name, 1)) == (404, "not_found")
    late = await proposed(at_work, name, 7000)
    await market.run_command(at_work, name, "start", code=(await market.read_codes(customer, name))["start"])
    assert code_of(await propose(at_work, name, 1)) == (409, "price_locked")
    assert code_of(await answered(customer, name, late, "accept")) == (409, "price_locked")
    assert (await market.read_job(customer, name))["amount"] == 9000


async def test_the_other_side_answers(customer: Client, at_work: Client, book: Book) -> None:
    """Who proposed it may not answer it; one is open at a time; what is answered is answered."""
    job = await market.book_and_accept(customer, at_work, book)
    first = await proposed(at_work, job, 12_000, reason="More pipes than you said")
    assert code_of(await answered(at_work, job, first, "accept")) == (403, "forbidden")
    for who in (at_work, customer):
        assert code_of(await propose(who, job, 1)) == (409, "duplicate")
    assert code_of(await answered(customer, job, "prc_none", "accept")) == (404, "not_found")
    assert (await answered(customer, job, first, "reject")).status_code == 200
    assert code_of(await answered(customer, job, first, "accept")) == (409, "illegal_transition")
    second = await proposed(customer, job, 8_000)
    assert code_of(await answered(at_work, job, first, "accept")) == (404, "not_found")
    stale = await answered(at_work, job, second, "accept", version=99)
    assert code_of(stale) == (412, "version_conflict") and stale.json()["job"]["amount"] == 9000
    assert (await answered(at_work, job, second, "accept")).json()["job"]["amount"] == 8_000


async def test_a_price_is_changed_once_and_told(site: Running, customer: Client, at_work: Client, book: Book) -> None:
    """Accepted it is the job's amount; both sides hear of each word; repeats answer as the first did."""
    job, keys = await market.book_and_accept(customer, at_work, book), [str(uuid.uuid4()) for _ in range(2)]
    first = [await propose(at_work, job, 12_000, reason="Pipes", key=keys[0]) for _ in range(2)]
    assert first[0].json() == first[1].json() and first[1].headers["idempotency-replayed"] == "true"
    assert code_of(await propose(at_work, job, 1, key=keys[0])) == (422, "reused_key")
    told = first[0].json()["proposal"]
    assert (told["amount"], told["reason"], told["status"]) == (12_000, "Pipes", "open")
    assert told["by"] == {"id": at_work.user, "role": "technician"}
    assert first[0].json()["job"]["version"] == 2 and first[0].json()["job"]["amount"] == 9000
    answers = [await answered(customer, job, told["id"], "accept", key=key) for key in (keys[1], keys[1], None)]
    assert [answer.json()["proposal"] for answer in answers] == [{**told, "status": "accepted"}] * 3
    assert answers[0].json()["job"]["amount"] == 12_000 and answers[0].json()["job"]["version"] == 3
    assert "codes" in answers[0].json()["job"]
    [asked], [changed] = [await market.job_events(site, kind, job) for kind in ("price.proposed", "price.changed")]
    assert {f"user:{customer.user}", f"user:{at_work.user}"} <= set(asked.to) & set(changed.to)
    view = site.engine.blueprints.view(changed.bp, changed.type, changed.data)
    name, data = view[0], event_log.orjson.loads(view[1])
    assert (name, data["jobId"], data["newAmount"], data["paymentIntentUpdated"]) == (
        "PRICE_CHANGED",
        job,
        12_000,
        False,
    )
    rows = (await customer("GET", f"/v1/jobs/{job}")).json()["job"]
    assert rows["amount"] == 12_000


async def test_of_accept_and_reject_at_once_one_stands(customer: Client, at_work: Client, book: Book) -> None:
    """Ten of each: all of one kind are answered alike, all of the other are refused, and the amount agrees."""
    job = await market.book_and_accept(customer, at_work, book)
    name = await proposed(at_work, job, 5)
    words = ["accept", "reject"] * 10
    answers = await asyncio.gather(*(answered(customer, job, name, word) for word in words))
    done = {word for word, answer in zip(words, answers, strict=True) if answer.status_code == 200}
    assert len(done) == 1 and [answer.status_code for answer in answers].count(409) == 10
    assert (await market.read_job(customer, job))["amount"] == (5 if done == {"accept"} else 9000)


async def test_of_two_proposals_at_once_one_is_open(customer: Client, at_work: Client, book: Book) -> None:
    """Both sides at once: one stands, the other is told that there is one."""
    job = await market.book_and_accept(customer, at_work, book)
    answers = await asyncio.gather(*(propose(who, job, 5) for who in (customer, at_work) * 4))
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * 7


async def test_a_proposal_ends_with_the_technician_it_was_made_with(
    site: Running, customer: Client, at_work: Client, book: Book
) -> None:
    """He left: it is void, his successor is not asked what he was asked, nor he himself should he have it once more."""
    job = await market.book_and_accept(customer, at_work, book)
    void = await proposed(customer, job, 1)
    await market.run_command(customer, job, "unassign")
    assert code_of(await answered(at_work, job, void, "accept")) == (404, "not_found")
    assert code_of(await propose(customer, job, 2)) == (409, "illegal_transition")
    zone, found = parse_job_id(job)
    assert await site.engine.store.redis.hget(keys.job(zone, found), "proposal") is None
