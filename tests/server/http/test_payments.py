"""Payments: the payment service reports each status of a reference once, and the job changes state accordingly."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import orjson
import pytest

from engine.types import Role
from server.serve import RunningServer
from tests.server.http import market
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book
from tests.support import event_log

MONEY = {"amount": 9000, "currency": "EUR"}


@pytest.fixture
def payment_service(staff: dict[Role, Client]) -> Client:
    """Return a client with the role of the payment service."""
    return staff["service"]


async def report_payment(who: Client, job: str, status: str, *, key: str | None = None, **more: Any) -> Any:
    """Report one status of the payment `pi_1`, with a fresh key unless one is given."""
    body = {"reference": "pi_1", "status": status, **MONEY, **more}
    return await who("POST", f"/v1/jobs/{job}/payments", body, Idempotency_Key=key or str(uuid.uuid4()))


async def confirmed_job(customer: Client, technician: Client, book: Book) -> str:
    """Return the id of a new job that is completed and confirmed, so that it awaits its payment."""
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
async def test_a_malformed_report_is_refused(payment_service: Client, change: dict[str, Any], named: str) -> None:
    """A malformed payment is refused, and the error names the field."""
    body = {"reference": "pi_1", "status": "captured", **MONEY, **change}
    assert pointers(await payment_service("POST", "/v1/jobs/job_main_01jb4zqk3m8r5t7v9x2c6d8f0g/payments", body)) == {
        named
    }


async def test_only_services_may_report(
    customer: Client, technician: Client, book: Book, staff: dict[Role, Client]
) -> None:
    """Only the role `service` may report a payment. Ops and services may read a job's payments; other roles are
    forbidden.
    """
    job = await confirmed_job(customer, technician, book)
    for who in (customer, technician, staff["admin"], staff["mediator"]):
        assert code_of(await report_payment(who, job, "captured")) == (403, "forbidden")
    for who in (customer, technician, staff["mediator"]):
        assert code_of(await who("GET", f"/v1/jobs/{job}/payments")) == (403, "forbidden")
    assert code_of(await report_payment(staff["service"], "job_main_01jb4zqk3m8r5t7v9x2c6d8f0g", "failed")) == (
        404,
        "not_found",
    )
    assert (await staff["admin"]("GET", f"/v1/jobs/{job}/payments")).json() == {"items": [], "next": None}


async def test_the_order_of_statuses(customer: Client, technician: Client, book: Book, payment_service: Client) -> None:
    """The statuses of a charge are `requested`, `failed`, `captured`, in this order; each may be the first. A status is
    never followed by an earlier one, and only a captured charge can be refunded.
    """
    job = await confirmed_job(customer, technician, book)
    assert code_of(await report_payment(payment_service, job, "refunded")) == (409, "illegal_transition")
    assert (await report_payment(payment_service, job, "requested")).status_code == 201
    assert code_of(await report_payment(payment_service, job, "refunded")) == (409, "illegal_transition")
    assert (await report_payment(payment_service, job, "failed")).json()["payment"]["status"] == "failed"
    assert code_of(await report_payment(payment_service, job, "refunded")) == (409, "illegal_transition")
    assert (await report_payment(payment_service, job, "failed", reference="pi_2")).status_code == 201
    assert code_of(await report_payment(payment_service, job, "requested", reference="pi_2")) == (
        409,
        "illegal_transition",
    )
    assert (await report_payment(payment_service, job, "captured")).json()["job"]["status"] == "paid"
    assert code_of(await report_payment(payment_service, job, "failed", reference="pi_1", amount=1)) == (
        409,
        "duplicate",
    )
    assert (await report_payment(payment_service, job, "captured", reference="pi_3")).status_code == 201
    for status in ("failed", "requested"):
        assert code_of(await report_payment(payment_service, job, status, reference="pi_3")) == (
            409,
            "illegal_transition",
        )
    assert (await report_payment(payment_service, job, "refunded")).json()["job"]["status"] == "paid"
    items = (await payment_service("GET", f"/v1/jobs/{job}/payments")).json()["items"]
    assert [(item["reference"], item["kind"], item["status"]) for item in items] == [
        ("pi_1", "charge", "captured"),
        ("pi_2", "charge", "failed"),
        ("pi_3", "charge", "captured"),
        ("pi_1", "refund", "refunded"),
    ]


async def test_a_capture_pays_the_job_in_the_same_step(
    site: RunningServer, customer: Client, technician: Client, book: Book, payment_service: Client
) -> None:
    """A capture of the price makes the job `paid`. One event with job and payment goes to customer, holder, ops and
    services under the blueprint's name, and the holder's load is 0 again.
    """
    job = await confirmed_job(customer, technician, book)
    reply = (await report_payment(payment_service, job, "captured", reference='pi 4"7')).json()
    assert (reply["job"]["status"], reply["job"]["phase"]) == ("paid", "done")
    assert {name: reply["payment"][name] for name in ("status", "reference", "amount", "currency", "kind")} == {
        **MONEY,
        "status": "captured",
        "reference": 'pi 4"7',
        "kind": "charge",
    }
    [received] = await market.job_events(site, "payment.received", job)
    assert set(received.to) == {
        f"user:{customer.user}",
        f"user:{technician.user}",
        "role:ops",
        "role:service",
        f"job:{job}",
    }
    name, data = site.engine.blueprints.client_event(received.blueprint_key, received.type, received.data)
    body = orjson.loads(data)
    assert (name, body["jobId"], body["status"], body["paymentId"]) == ("PAYMENT_CAPTURED", job, "PAID", 'pi 4"7')
    assert body["payment"] == reply["payment"] and body["from"] == "awaiting_confirmation"
    assert (await technician("GET", "/v1/me")).json()["technician"]["load"] == 0
    history = (await customer("GET", f"/v1/jobs/{job}/history")).json()["items"]
    assert history[-1]["to"] == "paid"


async def test_a_repeated_report_returns_the_first_reply(
    site: RunningServer, customer: Client, technician: Client, book: Book, payment_service: Client
) -> None:
    """A report repeated by key or by reference returns the first reply, also after a later status. Another amount or
    currency is refused with `duplicate`.
    """
    job, key = await confirmed_job(customer, technician, book), str(uuid.uuid4())
    first = await report_payment(payment_service, job, "requested", key=key)
    paid = await report_payment(payment_service, job, "captured")
    for again in (
        await report_payment(payment_service, job, "requested", key=key),
        await report_payment(payment_service, job, "requested"),
    ):
        assert again.json() == first.json() and again.headers["idempotency-replayed"] == "true"
    assert (await report_payment(payment_service, job, "captured")).json() == paid.json()
    assert code_of(await report_payment(payment_service, job, "captured", amount=1)) == (409, "duplicate")
    assert code_of(await report_payment(payment_service, job, "captured", currency="USD")) == (409, "duplicate")
    assert code_of(await report_payment(payment_service, job, "captured", key=key)) == (422, "reused_key")
    assert [
        len(await market.job_events(site, kind, job)) for kind in ("payment.requested", "payment.received")
    ] == [  # the award requests a hold
        3,
        1,
    ]


async def test_concurrent_captures_are_recorded_once(
    site: RunningServer, customer: Client, technician: Client, book: Book, payment_service: Client
) -> None:
    """Twenty concurrent captures of one reference and ten of others are recorded once each. The job is paid once, and
    all captures are in `paid_amount`.
    """
    job = await confirmed_job(customer, technician, book)
    same = [report_payment(payment_service, job, "captured") for _ in range(20)]
    others = [report_payment(payment_service, job, "captured", reference=f"pi_x{n}") for n in range(10)]
    answers = await asyncio.gather(*same, *others)
    assert {answer.status_code for answer in answers} == {201}
    assert len(await market.job_events(site, "payment.received", job)) == 11
    assert len(await market.job_events(site, "payment.unexpected", job)) == 10
    items = (await payment_service("GET", f"/v1/jobs/{job}/payments")).json()["items"]
    assert [item["status"] for item in items] == ["captured"] * 11
    assert (await market.read_job(payment_service, job))["paid_amount"] == 11 * MONEY["amount"]
    history = (await customer("GET", f"/v1/jobs/{job}/history")).json()["items"]
    assert [item["to"] for item in history].index("paid") == [item["command"] for item in history].index("capture")


async def test_payments_without_a_command_still_have_events(
    site: RunningServer, customer: Client, technician: Client, book: Book, payment_service: Client
) -> None:
    """If the blueprint has no command for payments, the state does not change, and customer, ops and services still
    receive the payment's event.
    """
    job = str((await book(customer))["id"])
    kinds = {"requested": "payment.requested", "captured": "payment.received", "refunded": "payment.refunded"}
    for status, kind in kinds.items():
        assert (await report_payment(payment_service, job, status)).json()["job"]["status"] == "broadcasted"
        [event] = await market.job_events(site, kind, job)
        assert set(event.to) == {f"user:{customer.user}", "role:ops", "role:service", f"job:{job}"}
        assert event_log.payload(event)["payment"]["status"] == status
    assert (await report_payment(payment_service, job, "failed", reference="pi_2")).status_code == 201
    [failed] = await market.job_events(site, "payment.failed", job)
    assert event_log.payload(failed)["payment"]["reference"] == "pi_2"
