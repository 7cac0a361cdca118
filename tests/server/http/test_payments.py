"""Payments: what the payment service says, once for each reference and status, and what it does to the job."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import orjson
import pytest

from engine.types import Role
from server.serve import Running
from tests.server.http import market
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book
from tests.support import event_log

MONEY = {"amount": 9000, "currency": "EUR"}


@pytest.fixture
def paying(staff: dict[Role, Client]) -> Client:
    """The payment service."""
    return staff["service"]


async def put(who: Client, job: str, status: str, *, key: str | None = None, **more: Any) -> Any:
    """One word of it."""
    body = {"reference": "pi_1", "status": status, **MONEY, **more}
    return await who("POST", f"/v1/jobs/{job}/payments", body, Idempotency_Key=key or str(uuid.uuid4()))


async def ready(customer: Client, technician: Client, book: Book) -> str:
    """A job that is done and confirmed: it waits for its money."""
    job = await market.book_and_complete(customer, technician, book)
    await market.run_command(customer, job, "confirm")
    return job


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"reference": ""}, "/reference"),
        ({"reference": "a\nb"}, "/reference"),
        ({"status": "paid"}, "/status"),
        ({"amount": -1}, "/amount"),
        ({"currency": "euro"}, "/currency"),
    ],
)
async def test_what_is_malformed(paying: Client, change: dict[str, Any], named: str) -> None:
    """The refusal names the field."""
    body = {"reference": "pi_1", "status": "captured", **MONEY, **change}
    assert pointers(await paying("POST", "/v1/jobs/job_main_01jb4zqk3m8r5t7v9x2c6d8f0g/payments", body)) == {named}


async def test_who_may_not(customer: Client, at_work: Client, book: Book, staff: dict[Role, Client]) -> None:
    """Only services say what was paid; ops and services may look."""
    job = await ready(customer, at_work, book)
    for who in (customer, at_work, staff["admin"], staff["mediator"]):
        assert code_of(await put(who, job, "captured")) == (403, "forbidden")
    for who in (customer, at_work, staff["mediator"]):
        assert code_of(await who("GET", f"/v1/jobs/{job}/payments")) == (403, "forbidden")
    assert code_of(await put(staff["service"], "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g", "failed")) == (404, "not_found")
    assert (await staff["admin"]("GET", f"/v1/jobs/{job}/payments")).json() == {"items": [], "next": None}


async def test_the_order(customer: Client, at_work: Client, book: Book, paying: Client) -> None:
    """requested → failed → captured, each of which may be the first; nothing goes back, and nothing is refunded that
    was not captured. A second card under the same reference is taken.
    """
    job = await ready(customer, at_work, book)
    assert code_of(await put(paying, job, "refunded")) == (409, "illegal_transition")
    assert (await put(paying, job, "requested")).status_code == 201
    assert code_of(await put(paying, job, "refunded")) == (409, "illegal_transition")
    assert (await put(paying, job, "failed")).json()["payment"]["status"] == "failed"
    assert code_of(await put(paying, job, "refunded")) == (409, "illegal_transition")
    assert (await put(paying, job, "failed", reference="pi_2")).status_code == 201
    assert code_of(await put(paying, job, "requested", reference="pi_2")) == (409, "illegal_transition")
    assert (await put(paying, job, "captured")).json()["job"]["status"] == "paid"
    assert code_of(await put(paying, job, "failed", reference="pi_1", amount=1)) == (409, "duplicate")
    assert (await put(paying, job, "captured", reference="pi_3")).status_code == 201
    for status in ("failed", "requested"):
        assert code_of(await put(paying, job, status, reference="pi_3")) == (409, "illegal_transition")
    assert (await put(paying, job, "refunded")).json()["job"]["status"] == "paid"
    items = (await paying("GET", f"/v1/jobs/{job}/payments")).json()["items"]
    assert [(item["reference"], item["kind"], item["status"]) for item in items] == [
        ("pi_1", "charge", "captured"),
        ("pi_2", "charge", "failed"),
        ("pi_3", "charge", "captured"),
        ("pi_1", "refund", "refunded"),
    ]


async def test_captured_pays_the_job_in_the_same_step(
    site: Running, customer: Client, at_work: Client, book: Book, paying: Client
) -> None:
    """One event with both, to customer, holder, ops and services, under the blueprint's name; the holder is free."""
    job = await ready(customer, at_work, book)
    told = (await put(paying, job, "captured", reference='pi 4"7')).json()
    assert (told["job"]["status"], told["job"]["phase"]) == ("paid", "done")
    assert {name: told["payment"][name] for name in ("status", "reference", "amount", "currency", "kind")} == {
        **MONEY,
        "status": "captured",
        "reference": 'pi 4"7',
        "kind": "charge",
    }
    [received] = await market.job_events(site, "payment.received", job)
    assert set(received.to) == {
        f"user:{customer.user}",
        f"user:{at_work.user}",
        "role:ops",
        "role:service",
        f"job:{job}",
    }
    name, data = site.engine.blueprints.view(received.bp, received.type, received.data)
    seen = orjson.loads(data)
    assert (name, seen["jobId"], seen["status"], seen["paymentId"]) == ("PAYMENT_CAPTURED", job, "PAID", 'pi 4"7')
    assert seen["payment"] == told["payment"] and seen["from"] == "awaiting_confirmation"
    assert (await at_work("GET", "/v1/me")).json()["technician"]["load"] == 0
    history = (await customer("GET", f"/v1/jobs/{job}/history")).json()["items"]
    assert history[-1]["to"] == "paid"


async def test_the_same_word_again_is_answered_as_the_first(
    site: Running, customer: Client, at_work: Client, book: Book, paying: Client
) -> None:
    """By key or by reference, also once it has gone on; another amount or currency is `duplicate`."""
    job, key = await ready(customer, at_work, book), str(uuid.uuid4())
    first = await put(paying, job, "requested", key=key)
    paid = await put(paying, job, "captured")
    for again in (await put(paying, job, "requested", key=key), await put(paying, job, "requested")):
        assert again.json() == first.json() and again.headers["idempotency-replayed"] == "true"
    assert (await put(paying, job, "captured")).json() == paid.json()
    assert code_of(await put(paying, job, "captured", amount=1)) == (409, "duplicate")
    assert code_of(await put(paying, job, "captured", currency="USD")) == (409, "duplicate")
    assert code_of(await put(paying, job, "captured", key=key)) == (422, "reused_key")
    assert [len(await market.job_events(site, kind, job)) for kind in ("payment.requested", "payment.received")] == [
        2,
        1,
    ]


async def test_of_many_captures_at_once_each_is_noted_once(
    site: Running, customer: Client, at_work: Client, book: Book, paying: Client
) -> None:
    """Twenty of the same and ten of others: paid once, each told once, and all of them add up."""
    job = await ready(customer, at_work, book)
    same = [put(paying, job, "captured") for _ in range(20)]
    others = [put(paying, job, "captured", reference=f"pi_x{n}") for n in range(10)]
    answers = await asyncio.gather(*same, *others)
    assert {answer.status_code for answer in answers} == {201}
    assert len(await market.job_events(site, "payment.received", job)) == 11
    assert len(await market.job_events(site, "payment.unexpected", job)) == 10
    items = (await paying("GET", f"/v1/jobs/{job}/payments")).json()["items"]
    assert [item["status"] for item in items] == ["captured"] * 11
    assert (await market.read_job(paying, job))["paid_amount"] == 11 * MONEY["amount"]
    history = (await customer("GET", f"/v1/jobs/{job}/history")).json()["items"]
    assert [item["to"] for item in history].index("paid") == [item["command"] for item in history].index("capture")


async def test_words_that_move_no_job_are_told_too(
    site: Running, customer: Client, at_work: Client, book: Book, paying: Client
) -> None:
    """Where the blueprint says nothing of payments, those concerned hear of them all the same."""
    job = str((await book(customer))["id"])
    kinds = {"requested": "payment.requested", "captured": "payment.received", "refunded": "payment.refunded"}
    for status, kind in kinds.items():
        assert (await put(paying, job, status)).json()["job"]["status"] == "broadcasted"
        [event] = await market.job_events(site, kind, job)
        assert set(event.to) == {f"user:{customer.user}", "role:ops", "role:service", f"job:{job}"}
        assert event_log.payload(event)["payment"]["status"] == status
    assert (await put(paying, job, "failed", reference="pi_2")).status_code == 201
    [failed] = await market.job_events(site, "payment.failed", job)
    assert event_log.payload(failed)["payment"]["reference"] == "pi_2"
