"""`paid_amount` is the sum of the captures in the job's currency, in every state; `refunded_amount` is what was
refunded of them.
"""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from engine.types import Role
from server.serve import RunningServer
from tests.server.http import market
from tests.server.http.client import Client, code_of
from tests.server.http.conftest import Book
from tests.server.http.test_disputes import book_directly, open_dispute, resolve_dispute
from tests.server.http.test_payments import MONEY, confirmed_job, report_payment
from tests.support import event_log

PRICE = int(str(MONEY["amount"]))


@pytest.fixture
def payment_service(staff: dict[Role, Client]) -> Client:
    """Return a client with the role of the payment service."""
    return staff["service"]


async def payment_events(site: RunningServer, job: str) -> list[tuple[str, str | None]]:
    """Return type and `why` of the job's payment events in log order, without the requests. `why` is None except for
    `payment.unexpected`.
    """
    events = [event for event in await event_log.events(site.engine, None, job) if event.type.startswith("payment.")]
    return [
        (e.type.removeprefix("payment."), event_log.payload(e).get("why"))
        for e in events
        if e.type != "payment.requested"
    ]


async def requested_payments(site: RunningServer, job: str) -> list[tuple[str, int]]:
    """Return kind and amount of the charges and refunds that the job's own steps requested."""
    requests = [
        event_log.payload(event)["payment"] for event in await market.job_events(site, "payment.requested", job)
    ]
    return [
        (payment["kind"], payment["amount"])
        for payment in requests
        if "reference" not in payment and payment["kind"] != "hold"
    ]


def money_sums(job: dict[str, Any]) -> tuple[str, int, int]:
    """Return the job's `status`, `paid_amount` and `refunded_amount`."""
    return job["status"], job["paid_amount"], job["refunded_amount"]


@pytest.mark.parametrize(
    ("captured", "expected"),
    [
        ([{"amount": 1}], [("received", None), ("partial", None)]),
        ([{"currency": "JPY"}], [("unexpected", "other_currency")]),
        (
            [{"amount": PRICE - 1}, {"currency": "JPY"}],
            [("received", None), ("partial", None), ("unexpected", "other_currency")],
        ),
    ],
)
async def test_a_partial_capture_does_not_pay_the_job(
    site: RunningServer,
    customer: Client,
    technician: Client,
    book: Book,
    payment_service: Client,
    captured: Any,
    expected: Any,
) -> None:
    """A partial capture counts, and one in another currency does not. The job is `paid` once the rest is captured."""
    job = await confirmed_job(customer, technician, book)
    paid = 0
    for number, change in enumerate(captured):
        answer = await report_payment(payment_service, job, "captured", reference=f"pi_{number}", **change)
        paid += change.get("amount", 0)
        assert answer.status_code == 201, answer.text
        assert money_sums(answer.json()["job"]) == ("awaiting_confirmation", paid, 0)
    assert await payment_events(site, job) == expected
    assert (await market.read_job(customer, job))["paid_amount"] == paid
    rest = (await report_payment(payment_service, job, "captured", reference="rest", amount=PRICE - paid)).json()["job"]
    assert money_sums(rest) == ("paid", PRICE, 0)
    assert (await payment_events(site, job))[len(expected) :] == [("received", None)]
    items = (await payment_service("GET", f"/v1/jobs/{job}/payments")).json()["items"]
    assert len(items) == len(captured) + 1 and {item["status"] for item in items} == {"captured"}


async def test_a_surplus_is_unexpected(
    site: RunningServer, customer: Client, technician: Client, book: Book, payment_service: Client
) -> None:
    """A capture above the price, and a capture for a job that is paid already, count in `paid_amount`. Ops and services
    receive each as `payment.unexpected`.
    """
    job = await confirmed_job(customer, technician, book)
    paid_job = (await report_payment(payment_service, job, "captured", amount=PRICE + 1)).json()["job"]
    assert money_sums(paid_job) == ("paid", PRICE + 1, 0)
    assert money_sums((await report_payment(payment_service, job, "captured", reference="pi_2")).json()["job"]) == (
        "paid",
        2 * PRICE + 1,
        0,
    )
    assert await payment_events(site, job) == [
        *(("received", None), ("unexpected", "surplus")),
        *(("received", None), ("unexpected", "job_over")),
    ]
    for event in await market.job_events(site, "payment.unexpected", job):
        assert set(event.to) == {"role:ops", "role:service"}


async def test_captures_before_the_confirmation_count(
    site: RunningServer, customer: Client, technician: Client, book: Book, payment_service: Client
) -> None:
    """Captures before the customer's `confirm` are added to `paid_amount`. If they cover the price, `confirm` makes the
    job `paid` and requests no payment.
    """
    job = await market.book_and_start(customer, technician, book)
    first = (await report_payment(payment_service, job, "captured", amount=4000)).json()["job"]
    assert money_sums(first) == ("in_progress", 4000, 0)
    await market.run_command(technician, job, "complete", code=(await market.read_codes(customer, job))["completion"])
    second = (await report_payment(payment_service, job, "captured", reference="pi_2", amount=PRICE - 4000)).json()[
        "job"
    ]
    assert money_sums(second) == ("awaiting_confirmation", PRICE, 0)
    key = str(uuid.uuid4())
    answer = await market.send_command(customer, job, "confirm", key=key)
    assert money_sums(answer.json()["job"]) == ("paid", PRICE, 0) and answer.json()["job"]["at"]["confirmed"]
    for again in (
        await market.send_command(customer, job, "confirm", key=key),
        await market.send_command(customer, job, "confirm"),
    ):
        assert again.json()["job"] == answer.json()["job"] and again.headers["idempotency-replayed"] == "true"
    assert await payment_events(site, job) == [
        *(("received", None), ("partial", None), ("unexpected", "not_awaited")),
        ("received", None),
    ]
    assert await requested_payments(site, job) == []
    moved = [event_log.payload(event) for event in await market.job_events(site, "job.status", job)]
    assert [(step["command"], step["from"], step["to"]) for step in moved[-2:]] == [
        ("confirm", "awaiting_confirmation", "awaiting_confirmation"),
        ("capture", "awaiting_confirmation", "paid"),
    ]
    assert (await technician("GET", "/v1/me")).json()["technician"]["load"] == 0


async def test_only_the_unpaid_rest_is_requested(
    site: RunningServer, customer: Client, technician: Client, book: Book, payment_service: Client
) -> None:
    """After a partial capture, `confirm` requests a charge of the rest."""
    job = await market.book_and_complete(customer, technician, book)
    await report_payment(payment_service, job, "captured", amount=4000)
    assert (await market.run_command(customer, job, "confirm"))["status"] == "awaiting_confirmation"
    assert await requested_payments(site, job) == [("charge", PRICE - 4000)]
    assert (await report_payment(payment_service, job, "captured", reference="pi_2", amount=PRICE - 4000)).json()[
        "job"
    ]["status"] == "paid"


@pytest.mark.parametrize("amount", [1, PRICE])
async def test_a_capture_after_a_cancel_can_be_refunded(
    site: RunningServer, customer: Client, book: Book, payment_service: Client, staff: dict[Role, Client], amount: int
) -> None:
    """A capture for a cancelled job is recorded, sent to ops as `payment.unexpected` with `job_over`, and can be
    refunded.
    """
    job = str((await book(customer, blueprint="marketplace"))["id"])
    await market.run_command(customer, job, "cancel")
    answer = await report_payment(payment_service, job, "captured", amount=amount)
    assert (answer.status_code, money_sums(answer.json()["job"])) == (201, ("cancelled", amount, 0))
    refund = await report_payment(payment_service, job, "refunded", amount=amount)
    assert (refund.status_code, money_sums(refund.json()["job"])) == (201, ("cancelled", amount, amount))
    assert await payment_events(site, job) == [("received", None), ("unexpected", "job_over"), ("refunded", None)]
    history = (await staff["admin"]("GET", f"/v1/jobs/{job}/history")).json()["items"]
    assert [item["command"] for item in history][-3:] == ["cancel", "capture", "refund"]


async def test_a_frozen_job_accepts_captures(
    site: RunningServer,
    customer: Client,
    technician: Client,
    book: Book,
    payment_service: Client,
    staff: dict[Role, Client],
) -> None:
    """A dispute stops commands but not captures. If the blueprint has no command for a capture, the state does not
    change.
    """
    job = await book_directly(customer, technician, book, "accept")
    name = (await open_dispute(customer, job)).json()["dispute"]["id"]
    frozen_job = (await report_payment(payment_service, job, "captured")).json()["job"]
    assert money_sums(frozen_job) == ("accepted", PRICE, 0) and frozen_job["frozen"] is True
    assert await payment_events(site, job) == [("received", None)]
    resolved = await resolve_dispute(staff["mediator"], name, "resume")
    assert money_sums(resolved.json()["job"]) == ("accepted", PRICE, 0)


async def test_a_signature_counts_earlier_captures(
    site: RunningServer,
    customer: Client,
    technician: Client,
    book: Book,
    payment_service: Client,
    staff: dict[Role, Client],
) -> None:
    """Captures before `sign`, also during a dispute, count: `sign` makes the job `paid` and requests no payment."""
    booked = await book(customer, blueprint="managed")
    job, price = str(booked["id"]), int(booked["amount"])
    ops = staff["ops_manager"]
    if (await market.read_job(ops, job))["status"] == "requested":
        await market.send_command(ops, job, "assign", technician=technician.user)
    for command in ("accept", "depart", "start"):
        await market.run_command(technician, job, command)
    await market.add_photos(technician, job)
    await market.run_command(technician, job, "finish")
    assert money_sums((await report_payment(payment_service, job, "captured", amount=1)).json()["job"]) == (
        "work_done",
        1,
        0,
    )
    name = (await open_dispute(customer, job)).json()["dispute"]["id"]
    rest = await report_payment(payment_service, job, "captured", reference="pi_2", amount=price - 1)
    assert money_sums(rest.json()["job"]) == ("disputed", price, 0)
    assert money_sums((await resolve_dispute(staff["mediator"], name, "resume")).json()["job"]) == (
        "work_done",
        price,
        0,
    )
    assert money_sums(await market.sign_job(customer, job)) == ("paid", price, 0)
    assert await requested_payments(site, job) == []
    assert await payment_events(site, job) == [
        *(("received", None), ("partial", None), ("unexpected", "not_awaited")),
        *(("received", None), ("unexpected", "not_awaited")),
    ]


async def test_a_delivery_accepts_any_capture(
    site: RunningServer, customer: Client, book: Book, payment_service: Client
) -> None:
    """A delivery's captures of any sum are `payment.received`, under the blueprint's own name, and change no state."""
    job = str((await book(customer, blueprint="delivery"))["id"])
    for number in range(2):
        answer = await report_payment(payment_service, job, "captured", reference=f"pi_{number}", amount=PRICE - 1)
        assert money_sums(answer.json()["job"]) == ("placed", (number + 1) * (PRICE - 1), 0)
    assert await payment_events(site, job) == [("received", None)] * 2
    [first, _] = await market.job_events(site, "payment.received", job)
    assert site.engine.blueprints.client_event(first.blueprint_key, first.type, first.data)[0] == "payment:received"


async def test_a_capture_may_differ_from_the_request(customer: Client, book: Book, payment_service: Client) -> None:
    """A capture may have another amount than the request with the same reference; a second request may not."""
    job = str((await book(customer))["id"])
    await report_payment(payment_service, job, "requested")
    assert (await report_payment(payment_service, job, "captured", amount=100)).json()["job"]["paid_amount"] == 100
    assert (await report_payment(payment_service, job, "requested")).json()["job"]["paid_amount"] == 0
    assert code_of(await report_payment(payment_service, job, "requested", amount=100)) == (409, "duplicate")


async def test_the_currency_is_locked_after_a_capture(customer: Client, book: Book, payment_service: Client) -> None:
    """After a capture an edit of the job's currency is refused with `price_locked`; an edit of the amount is
    accepted.
    """
    job = str((await book(customer, blueprint="marketplace"))["id"])
    await report_payment(payment_service, job, "captured", amount=1)
    change = {"amount": 1, "currency": "USD"}
    answer = await customer("PATCH", f"/v1/jobs/{job}", change)
    assert code_of(answer) == (409, "price_locked")
    assert (await customer("PATCH", f"/v1/jobs/{job}", {"amount": 7})).json()["job"]["amount"] == 7


async def test_money_in_a_race_adds_up_at_every_seq(
    site: RunningServer,
    customer: Client,
    technician: Client,
    book: Book,
    payment_service: Client,
    staff: dict[Role, Client],
) -> None:
    """Captures and refunds race with confirm, unassign and cancel. No capture is refused, and each event shows the
    exact sums up to its seq.
    """
    ops = staff["admin"]
    for number in range(12):
        job = await (market.book_and_complete if number % 3 else market.book_and_accept)(customer, technician, book)
        await report_payment(payment_service, job, "captured", reference="c0", amount=PRICE // 3)
        parts = [
            report_payment(payment_service, job, "captured", reference=f"c{n % 3 + 1}", amount=PRICE // 3)
            for n in range(9)
        ]
        backs = [
            report_payment(payment_service, job, "refunded", reference=f"r{n}", of="c0", amount=PRICE // 4)
            for n in range(3)
        ]
        steps = [
            market.send_command(who, job, name)
            for who, name in ((customer, "confirm"), (customer, "unassign"), (ops, "cancel"))
        ]
        answers = await asyncio.gather(*parts, *backs, *steps)
        assert {answer.status_code for answer in answers[:9]} == {201}
        assert sorted(answer.status_code for answer in answers[9:12]) == [201, 422, 422]
        await assert_sums_at_each_event(site, job)
        last = await market.read_job(ops, job)
        assert (last["paid_amount"], last["refunded_amount"]) == (4 * (PRICE // 3), PRICE // 4)
        if last["status"] == "open":
            await market.run_command(customer, job, "cancel")
        elif last["status"] == "awaiting_confirmation":
            await market.run_command(ops, job, "cancel")


async def assert_sums_at_each_event(site: RunningServer, job: str) -> None:
    """Assert that each event of the job shows the sums of the payments up to it, and a version that never falls."""
    paid, refunded, version, ids = 0, 0, 0, set()
    for event in await event_log.events(site.engine, None, job):
        data = event_log.payload(event)
        payment, job_view = data.get("payment", {}), data.get("job", {})
        word = (payment.get("kind"), payment.get("reference"), payment.get("status"))
        if word[1] and word not in ids:
            ids.add(word)
            paid += payment["amount"] * (word[2] == "captured")
            refunded += payment["amount"] * (word[2] == "refunded")
        if "paid_amount" in job_view:
            assert (job_view["paid_amount"], job_view["refunded_amount"]) == (paid, refunded), event.seq
            assert job_view["version"] >= version
            version = job_view["version"]
