"""What a job was paid: the sum of what was captured in its currency, whatever state it is in, and what was refunded."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest

from engine.types import Role
from server.serve import Running
from tests.server.http import market
from tests.server.http.client import Client, code_of, pointers
from tests.server.http.conftest import Book
from tests.server.http.test_disputes import book_directly, open_dispute, resolve_dispute
from tests.server.http.test_payments import MONEY, put, ready
from tests.support import event_log

PRICE = int(str(MONEY["amount"]))


@pytest.fixture
def paying(staff: dict[Role, Client]) -> Client:
    """The payment service."""
    return staff["service"]


async def kinds(site: Running, job: str) -> list[tuple[str, str | None]]:
    """The payment events of a job that are no requests, in order, and why one is unexpected."""
    found = [event for event in await event_log.events(site.engine, None, job) if event.type.startswith("payment.")]
    return [
        (e.type.removeprefix("payment."), event_log.payload(e).get("why"))
        for e in found
        if e.type != "payment.requested"
    ]


async def asked(site: Running, job: str) -> list[tuple[str, int]]:
    """The payments that the job's steps asked for."""
    told = [event_log.payload(event)["payment"] for event in await market.job_events(site, "payment.requested", job)]
    return [(payment["kind"], payment["amount"]) for payment in told if "reference" not in payment]


def sums(job: dict[str, Any]) -> tuple[str, int, int]:
    """State, paid and refunded."""
    return job["status"], job["paid_amount"], job["refunded_amount"]


@pytest.mark.parametrize(
    ("captured", "told"),
    [
        ([{"amount": 1}], [("received", None), ("partial", None)]),
        ([{"currency": "JPY"}], [("unexpected", "other_currency")]),
        (
            [{"amount": PRICE - 1}, {"currency": "JPY"}],
            [("received", None), ("partial", None), ("unexpected", "other_currency")],
        ),
    ],
)
async def test_underpaid_is_not_paid(
    site: Running, customer: Client, at_work: Client, book: Book, paying: Client, captured: Any, told: Any
) -> None:
    """A part is kept and shown, another currency counts for nothing; the rest then pays the job."""
    job = await ready(customer, at_work, book)
    paid = 0
    for number, change in enumerate(captured):
        answer = await put(paying, job, "captured", reference=f"pi_{number}", **change)
        paid += change.get("amount", 0)
        assert answer.status_code == 201, answer.text
        assert sums(answer.json()["job"]) == ("awaiting_confirmation", paid, 0)
    assert await kinds(site, job) == told
    assert (await market.read_job(customer, job))["paid_amount"] == paid
    rest = (await put(paying, job, "captured", reference="rest", amount=PRICE - paid)).json()["job"]
    assert sums(rest) == ("paid", PRICE, 0)
    assert (await kinds(site, job))[len(told) :] == [("received", None)]
    items = (await paying("GET", f"/v1/jobs/{job}/payments")).json()["items"]
    assert len(items) == len(captured) + 1 and {item["status"] for item in items} == {"captured"}


async def test_what_is_over_is_unexpected(
    site: Running, customer: Client, at_work: Client, book: Book, paying: Client
) -> None:
    """More than was asked pays the job and is told to ops and services; who is paid already is told the same."""
    job = await ready(customer, at_work, book)
    told = (await put(paying, job, "captured", amount=PRICE + 1)).json()["job"]
    assert sums(told) == ("paid", PRICE + 1, 0)
    assert sums((await put(paying, job, "captured", reference="pi_2")).json()["job"]) == ("paid", 2 * PRICE + 1, 0)
    assert await kinds(site, job) == [
        *(("received", None), ("unexpected", "surplus")),
        *(("received", None), ("unexpected", "job_over")),
    ]
    for event in await market.job_events(site, "payment.unexpected", job):
        assert set(event.to) == {"role:ops", "role:service"}


async def test_before_it_is_confirmed(
    site: Running, customer: Client, at_work: Client, book: Book, paying: Client
) -> None:
    """A capture while the job is under way is noted; the step that brings it to where it can be paid pays it, and asks
    for nothing any more.
    """
    job = await market.book_and_start(customer, at_work, book)
    first = (await put(paying, job, "captured", amount=4000)).json()["job"]
    assert sums(first) == ("in_progress", 4000, 0)
    await market.run_command(at_work, job, "complete", code=(await market.read_codes(customer, job))["completion"])
    second = (await put(paying, job, "captured", reference="pi_2", amount=PRICE - 4000)).json()["job"]
    assert sums(second) == ("awaiting_confirmation", PRICE, 0)
    key = str(uuid.uuid4())
    answer = await market.send_command(customer, job, "confirm", key=key)
    assert sums(answer.json()["job"]) == ("paid", PRICE, 0) and answer.json()["job"]["at"]["confirmed"]
    for again in [await market.send_command(customer, job, "confirm", key=each) for each in (key, None)]:
        assert again.json()["job"] == answer.json()["job"] and again.headers["idempotency-replayed"] == "true"
    assert await kinds(site, job) == [
        *(("received", None), ("partial", None), ("unexpected", "not_awaited")),
        ("received", None),
    ]
    assert await asked(site, job) == []
    moved = [event_log.payload(event) for event in await market.job_events(site, "job.status", job)]
    assert [(step["command"], step["from"], step["to"]) for step in moved[-2:]] == [
        ("confirm", "awaiting_confirmation", "awaiting_confirmation"),
        ("capture", "awaiting_confirmation", "paid"),
    ]
    assert (await at_work("GET", "/v1/me")).json()["technician"]["load"] == 0


async def test_what_was_paid_already_is_not_asked_again(
    site: Running, customer: Client, at_work: Client, book: Book, paying: Client
) -> None:
    """After a part, the rest is asked for."""
    job = await market.book_and_complete(customer, at_work, book)
    await put(paying, job, "captured", amount=4000)
    assert (await market.run_command(customer, job, "confirm"))["status"] == "awaiting_confirmation"
    assert await asked(site, job) == [("charge", PRICE - 4000)]
    assert (await put(paying, job, "captured", reference="pi_2", amount=PRICE - 4000)).json()["job"]["status"] == "paid"


@pytest.mark.parametrize("amount", [1, PRICE])
async def test_after_a_cancel(
    site: Running, customer: Client, book: Book, paying: Client, staff: dict[Role, Client], amount: int
) -> None:
    """The capture that crossed it is noted and told, ops are told that nobody can use it, and it can be refunded."""
    job = str((await book(customer, blueprint="marketplace"))["id"])
    await market.run_command(customer, job, "cancel")
    told = await put(paying, job, "captured", amount=amount)
    assert (told.status_code, sums(told.json()["job"])) == (201, ("cancelled", amount, 0))
    back = await put(paying, job, "refunded", amount=amount)
    assert (back.status_code, sums(back.json()["job"])) == (201, ("cancelled", amount, amount))
    assert await kinds(site, job) == [("received", None), ("unexpected", "job_over"), ("refunded", None)]
    history = (await staff["admin"]("GET", f"/v1/jobs/{job}/history")).json()["items"]
    assert [item["command"] for item in history][-3:] == ["cancel", "capture", "refund"]


async def test_while_it_is_frozen(
    site: Running, customer: Client, at_work: Client, book: Book, paying: Client, staff: dict[Role, Client]
) -> None:
    """A dispute stops steps, not money. Where the blueprint has no command for a capture, it is just received."""
    job = await book_directly(customer, at_work, book, "accept")
    name = (await open_dispute(customer, job)).json()["dispute"]["id"]
    told = (await put(paying, job, "captured")).json()["job"]
    assert sums(told) == ("accepted", PRICE, 0) and told["frozen"] is True
    assert await kinds(site, job) == [("received", None)]
    resolved = await resolve_dispute(staff["mediator"], name, "resume")
    assert sums(resolved.json()["job"]) == ("accepted", PRICE, 0)


async def test_the_signature_takes_what_was_captured_before_it(
    site: Running, customer: Client, at_work: Client, book: Book, paying: Client, staff: dict[Role, Client]
) -> None:
    """A part before the work is signed, the rest during the dispute about it: signing pays, asking nothing."""
    job = str((await book(customer, blueprint="managed"))["id"])
    ops = staff["ops_manager"]
    if (await market.read_job(ops, job))["status"] == "requested":
        await market.send_command(ops, job, "assign", technician=at_work.user)
    for command in ("accept", "depart", "start", "finish"):
        await market.run_command(at_work, job, command)
    assert sums((await put(paying, job, "captured", amount=1)).json()["job"]) == ("work_done", 1, 0)
    name = (await open_dispute(customer, job)).json()["dispute"]["id"]
    rest = await put(paying, job, "captured", reference="pi_2", amount=PRICE - 1)
    assert sums(rest.json()["job"]) == ("disputed", PRICE, 0)
    assert sums((await resolve_dispute(staff["mediator"], name, "resume")).json()["job"]) == ("work_done", PRICE, 0)
    assert sums(await market.run_command(customer, job, "sign")) == ("paid", PRICE, 0)
    assert await asked(site, job) == []
    assert await kinds(site, job) == [
        *(("received", None), ("partial", None), ("unexpected", "not_awaited")),
        *(("received", None), ("unexpected", "not_awaited")),
    ]


async def test_a_delivery_is_just_paid(site: Running, customer: Client, book: Book, paying: Client) -> None:
    """Any capture, a part or more, is received and no more; under the name that the blueprint has for it."""
    job = str((await book(customer, blueprint="delivery"))["id"])
    for number in range(2):
        answer = await put(paying, job, "captured", reference=f"pi_{number}", amount=PRICE - 1)
        assert sums(answer.json()["job"]) == ("placed", (number + 1) * (PRICE - 1), 0)
    assert await kinds(site, job) == [("received", None)] * 2
    [first, _] = await market.job_events(site, "payment.received", job)
    assert site.engine.blueprints.view(first.bp, first.type, first.data)[0] == "payment:received"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"amount": PRICE + 1}, "/amount"),
        ({"currency": "USD"}, "/currency"),
        ({"reference": "re_1", "of": "pi_9"}, "/of"),
        ({"reference": "pi_2", "of": "pi_1"}, "/reference"),
    ],
)
async def test_a_refund_that_its_charge_has_not(
    customer: Client, book: Book, paying: Client, change: dict[str, Any], named: str
) -> None:
    """`invalid` by pointer, again under the same key too; nothing is noted."""
    job, key = str((await book(customer))["id"]), str(uuid.uuid4())
    for reference in ("pi_1", "pi_2"):
        await put(paying, job, "captured", reference=reference)
    for _ in range(2):
        assert pointers(await put(paying, job, "refunded", key=key, **change)) == {named}
    assert (await market.read_job(paying, job))["refunded_amount"] == 0
    assert pointers(await put(paying, job, "captured", reference="pi_3", of="pi_1")) == {"/of"}


async def test_part_refunds(site: Running, customer: Client, book: Book, paying: Client) -> None:
    """The first under the charge's reference, others under their own; together at most what the charge captured."""
    job = str((await book(customer))["id"])
    await put(paying, job, "captured")
    assert (await put(paying, job, "refunded", amount=2000)).json()["job"]["refunded_amount"] == 2000
    assert code_of(await put(paying, job, "refunded", amount=1)) == (409, "duplicate")
    more = {"reference": "re_1", "of": "pi_1"}
    told = (await put(paying, job, "refunded", amount=3000, **more)).json()
    assert told["job"]["refunded_amount"] == 5000
    assert {name: told["payment"][name] for name in ("kind", "reference", "of", "status", "amount")} == {
        **more,
        "kind": "refund",
        "status": "refunded",
        "amount": 3000,
    }
    again = await put(paying, job, "refunded", amount=3000, **more)
    assert again.json() == told and again.headers["idempotency-replayed"] == "true"
    assert code_of(await put(paying, job, "refunded", amount=3000, reference="re_1", of="pi_2")) == (409, "duplicate")
    assert pointers(await put(paying, job, "refunded", reference="re_2", of="pi_1", amount=4001)) == {"/amount"}
    assert (await put(paying, job, "refunded", reference="re_2", of="pi_1", amount=4000)).status_code == 201
    assert pointers(await put(paying, job, "refunded", reference="re_3", of="pi_1", amount=1)) == {"/amount"}
    items = (await paying("GET", f"/v1/jobs/{job}/payments")).json()["items"]
    assert [(item["status"], item["amount"]) for item in items] == [
        *(("captured", PRICE), ("refunded", 2000), ("refunded", 3000), ("refunded", 4000)),
    ]
    assert sums(await market.read_job(customer, job)) == ("broadcasted", PRICE, PRICE)


async def test_another_amount_than_was_requested_is_captured(customer: Client, book: Book, paying: Client) -> None:
    """Each status has an amount of its own: what was announced does not bind what was taken."""
    job = str((await book(customer))["id"])
    await put(paying, job, "requested")
    assert (await put(paying, job, "captured", amount=100)).json()["job"]["paid_amount"] == 100
    assert (await put(paying, job, "requested")).json()["job"]["paid_amount"] == 0
    assert code_of(await put(paying, job, "requested", amount=100)) == (409, "duplicate")


async def test_a_refund_is_asked_for_what_was_captured(
    site: Running, customer: Client, at_work: Client, book: Book, paying: Client, staff: dict[Role, Client]
) -> None:
    """Nothing where nothing was; asked back once, and then it pays for nothing any more."""
    empty = await market.book_and_accept(customer, at_work, book)
    await market.run_command(customer, empty, "unassign")
    assert await asked(site, empty) == []
    await market.run_command(customer, empty, "cancel")
    job = await market.book_and_accept(customer, at_work, book)
    await put(paying, job, "captured", amount=5000)
    await put(paying, job, "refunded", amount=1000)
    await put(paying, job, "captured", reference="pi_2", currency="USD")
    await market.run_command(customer, job, "unassign")
    assert await asked(site, job) == [("refund", 4000)]
    assert (await put(paying, job, "refunded", reference="re_1", of="pi_1", amount=4000)).status_code == 201
    await market.run_command(customer, job, "cancel")
    assert await asked(site, job) == [("refund", 4000)]
    done = await market.book_and_complete(customer, at_work, book)
    await put(paying, done, "captured", amount=PRICE - 1)
    await market.run_command(staff["admin"], done, "cancel")
    assert await asked(site, done) == [("refund", PRICE - 1)]


async def test_the_currency_of_money_that_was_paid_stays(customer: Client, book: Book, paying: Client) -> None:
    """Sums are in the job's currency: once there is one, no edit makes it another."""
    job = str((await book(customer, blueprint="marketplace"))["id"])
    await put(paying, job, "captured", amount=1)
    change = {"amount": 1, "currency": "USD"}
    answer = await customer("PATCH", f"/v1/jobs/{job}", change)
    assert code_of(answer) == (409, "price_locked")
    assert (await customer("PATCH", f"/v1/jobs/{job}", {"amount": 7})).json()["job"]["amount"] == 7


async def test_a_refund_counts_as_its_charge_did(customer: Client, book: Book, paying: Client) -> None:
    """What was captured in another currency counts for nothing, nor does its refund once the job has that currency."""
    job = str((await book(customer, blueprint="marketplace"))["id"])
    await put(paying, job, "captured", currency="USD")
    change = {"amount": PRICE, "currency": "USD"}
    assert (await customer("PATCH", f"/v1/jobs/{job}", change)).json()["job"]["currency"] == "USD"
    [item] = (await paying("GET", f"/v1/jobs/{job}/payments")).json()["items"]
    assert (item["status"], item["amount"], item["currency"]) == ("captured", PRICE, "USD")
    back = await put(paying, job, "refunded", reference="re_1", of="pi_1", currency="USD")
    assert back.status_code == 201 and sums(back.json()["job"]) == ("open", 0, 0)
    await put(paying, job, "captured", reference="pi_2", amount=1, currency="USD")
    back = await put(paying, job, "refunded", reference="re_2", of="pi_2", amount=1, currency="USD")
    assert sums(back.json()["job"]) == ("open", 1, 1)


async def test_money_in_a_race_adds_up_at_every_seq(
    site: Running, customer: Client, at_work: Client, book: Book, paying: Client, staff: dict[Role, Client]
) -> None:
    """Captures and refunds against confirm, dispute, unassign and cancel: none is refused, and each event shows exactly
    what the events up to it add up to.
    """
    ops = staff["admin"]
    for number in range(12):
        job = await (market.book_and_complete if number % 3 else market.book_and_accept)(customer, at_work, book)
        await put(paying, job, "captured", reference="c0", amount=PRICE // 3)
        parts = [put(paying, job, "captured", reference=f"c{n % 3 + 1}", amount=PRICE // 3) for n in range(9)]
        backs = [put(paying, job, "refunded", reference=f"r{n}", of="c0", amount=PRICE // 4) for n in range(3)]
        steps = [
            market.send_command(who, job, name)
            for who, name in ((customer, "confirm"), (customer, "unassign"), (ops, "cancel"))
        ]
        answers = await asyncio.gather(*parts, *backs, *steps)
        assert {answer.status_code for answer in answers[:9]} == {201}
        assert sorted(answer.status_code for answer in answers[9:12]) == [201, 422, 422]
        await add_up(site, job)
        last = await market.read_job(ops, job)
        assert (last["paid_amount"], last["refunded_amount"]) == (4 * (PRICE // 3), PRICE // 4)
        if last["status"] == "open":
            await market.run_command(customer, job, "cancel")
        elif last["status"] == "awaiting_confirmation":
            await market.run_command(ops, job, "cancel")


async def add_up(site: Running, job: str) -> None:
    """Every event of the job shows the sums of the payments up to it, and a version that never falls."""
    paid, refunded, version, met = 0, 0, 0, set()
    for event in await event_log.events(site.engine, None, job):
        data = event_log.payload(event)
        payment, shown = data.get("payment", {}), data.get("job", {})
        word = (payment.get("kind"), payment.get("reference"), payment.get("status"))
        if word[1] and word not in met:
            met.add(word)
            paid += payment["amount"] * (word[2] == "captured")
            refunded += payment["amount"] * (word[2] == "refunded")
        if "paid_amount" in shown:
            assert (shown["paid_amount"], shown["refunded_amount"]) == (paid, refunded), event.seq
            assert shown["version"] >= version
            version = shown["version"]
