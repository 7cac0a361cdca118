"""Refunds: each matches a captured charge, and `refunded_amount` is their sum in the job's currency."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from engine.types import Role
from server.serve import RunningServer
from tests.server.http import market
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book
from tests.server.http.test_money import PRICE, money_sums, requested_payments
from tests.server.http.test_payments import report_payment


@pytest.fixture
def payment_service(staff: dict[Role, Client]) -> Client:
    """Return a client with the role of the payment service."""
    return staff["service"]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"amount": PRICE + 1}, "/amount"),
        ({"currency": "USD"}, "/currency"),
        ({"reference": "re_1", "of": "pi_9"}, "/of"),
        ({"reference": "pi_2", "of": "pi_1"}, "/reference"),
    ],
)
async def test_a_refund_must_match_its_charge(
    customer: Client, book: Book, payment_service: Client, change: dict[str, Any], named: str
) -> None:
    """A refund that does not match its charge is `invalid` at the field, also when it is repeated, and is
    not recorded.
    """
    job, key = str((await book(customer))["id"]), str(uuid.uuid4())
    for reference in ("pi_1", "pi_2"):
        await report_payment(payment_service, job, "captured", reference=reference)
    for _ in range(2):
        assert pointers(await report_payment(payment_service, job, "refunded", key=key, **change)) == {named}
    assert (await market.read_job(payment_service, job))["refunded_amount"] == 0
    assert pointers(await report_payment(payment_service, job, "captured", reference="pi_3", of="pi_1")) == {"/of"}


async def test_partial_refunds(site: RunningServer, customer: Client, book: Book, payment_service: Client) -> None:
    """The first refund may use the charge's reference; others need their own and `of`. Together they are at most the
    charge.
    """
    job = str((await book(customer))["id"])
    await report_payment(payment_service, job, "captured")
    assert (await report_payment(payment_service, job, "refunded", amount=2000)).json()["job"][
        "refunded_amount"
    ] == 2000
    assert code_of(await report_payment(payment_service, job, "refunded", amount=1)) == (409, "duplicate")
    more = {"reference": "re_1", "of": "pi_1"}
    reply = (await report_payment(payment_service, job, "refunded", amount=3000, **more)).json()
    assert reply["job"]["refunded_amount"] == 5000
    assert {name: reply["payment"][name] for name in ("kind", "reference", "of", "status", "amount")} == {
        **more,
        "kind": "refund",
        "status": "refunded",
        "amount": 3000,
    }
    again = await report_payment(payment_service, job, "refunded", amount=3000, **more)
    assert again.json() == reply and again.headers["idempotency-replayed"] == "true"
    assert code_of(
        await report_payment(payment_service, job, "refunded", amount=3000, reference="re_1", of="pi_2")
    ) == (
        409,
        "duplicate",
    )
    assert pointers(
        await report_payment(payment_service, job, "refunded", reference="re_2", of="pi_1", amount=4001)
    ) == {"/amount"}
    assert (
        await report_payment(payment_service, job, "refunded", reference="re_2", of="pi_1", amount=4000)
    ).status_code == 201
    assert pointers(await report_payment(payment_service, job, "refunded", reference="re_3", of="pi_1", amount=1)) == {
        "/amount"
    }
    items = (await payment_service("GET", f"/v1/jobs/{job}/payments")).json()["items"]
    assert [(item["status"], item["amount"]) for item in items] == [
        *(("captured", PRICE), ("refunded", 2000), ("refunded", 3000), ("refunded", 4000)),
    ]
    assert money_sums(await market.read_job(customer, job)) == ("broadcasted", PRICE, PRICE)


async def test_the_unrefunded_rest_is_requested_back(
    site: RunningServer,
    customer: Client,
    technician: Client,
    book: Book,
    payment_service: Client,
    staff: dict[Role, Client],
) -> None:
    """If a job loses its technician or is cancelled, the captures in its currency that are not yet refunded are
    requested back, and only once.
    """
    empty = await market.book_and_accept(customer, technician, book)
    await market.run_command(customer, empty, "unassign")
    assert await requested_payments(site, empty) == []
    await market.run_command(customer, empty, "cancel")
    job = await market.book_and_accept(customer, technician, book)
    await report_payment(payment_service, job, "captured", amount=5000)
    await report_payment(payment_service, job, "refunded", amount=1000)
    await report_payment(payment_service, job, "captured", reference="pi_2", currency="USD")
    await market.run_command(customer, job, "unassign")
    assert await requested_payments(site, job) == [("refund", 4000)]
    assert (
        await report_payment(payment_service, job, "refunded", reference="re_1", of="pi_1", amount=4000)
    ).status_code == 201
    await market.run_command(customer, job, "cancel")
    assert await requested_payments(site, job) == [("refund", 4000)]
    completed_job = await market.book_and_complete(customer, technician, book)
    await report_payment(payment_service, completed_job, "captured", amount=PRICE - 1)
    await market.run_command(staff["admin"], completed_job, "cancel")
    assert await requested_payments(site, completed_job) == [("refund", PRICE - 1)]


async def test_a_refund_counts_if_its_charge_counted(customer: Client, book: Book, payment_service: Client) -> None:
    """A charge in another currency than the job's does not count. Its refund does not count either, even if the job has
    this currency by then.
    """
    job = str((await book(customer, blueprint="marketplace"))["id"])
    await report_payment(payment_service, job, "captured", currency="USD")
    change = {"amount": PRICE, "currency": "USD"}
    assert (await customer("PATCH", f"/v1/jobs/{job}", change)).json()["job"]["currency"] == "USD"
    [item] = (await payment_service("GET", f"/v1/jobs/{job}/payments")).json()["items"]
    assert (item["status"], item["amount"], item["currency"]) == ("captured", PRICE, "USD")
    refund = await report_payment(payment_service, job, "refunded", reference="re_1", of="pi_1", currency="USD")
    assert refund.status_code == 201 and money_sums(refund.json()["job"]) == ("open", 0, 0)
    await report_payment(payment_service, job, "captured", reference="pi_2", amount=1, currency="USD")
    refund = await report_payment(
        payment_service, job, "refunded", reference="re_2", of="pi_2", amount=1, currency="USD"
    )
    assert money_sums(refund.json()["job"]) == ("open", 1, 1)
