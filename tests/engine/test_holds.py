"""Holds: the reports of the payment service about a hold, in any order, and the requests of the job that follow. The
blueprint is `marketplace`, whose acceptance requests a hold.
"""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import msgspec

from engine.domain import bids, codes, jobs, payments, prices
from engine.domain.commands import CommandInput
from engine.domain.payments import Payment, PaymentStatus
from engine.errors import CalloutError, IllegalTransition
from engine.runtime import Engine
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId, Principal, ServiceId, UserId
from engine.workers import archiver, scheduler
from tests.rebuild.compare import check_rebuild
from tests.support import event_log, people
from tests.support.sizes import choose_size

PAYMENT_SERVICE = Principal(UserId("psp"), "service")
PRICE = 5_000
RACES = choose_size(20, 300)


async def accepted_job(engine: Engine, carla: Principal, service: ServiceId, tom: Principal) -> JobId:
    """Return a job that the technician holds, so that a hold of `PRICE` is requested."""
    more = {"blueprint": "marketplace", "technician": tom.id}
    job = people.id_of(await people.job(engine, carla, service, **more))  # type: ignore[arg-type]
    await jobs.run_command(engine, tom, job, CommandInput(command="accept"))
    return job


async def open_market(engine: Engine) -> tuple[Principal, ServiceId, Principal]:
    """Return a customer, a service and a technician who may hold many jobs."""
    service = await people.service(engine)
    return await people.customer(engine), service, await people.technician(engine, "t1", service, capacity=999)


async def report(
    engine: Engine, job: JobId, status: PaymentStatus, reference: str = "pi_1", amount: int = PRICE
) -> str:
    """Report the status of a payment. Return "ok", "again" or the code of the refusal."""
    payment = Payment(reference=reference, status=status, amount=amount, currency="USD")
    try:
        done = await payments.put_payment(engine, PAYMENT_SERVICE, job, payment)
    except CalloutError as error:
        return error.code
    return "again" if done.repeated else "ok"


async def requests(engine: Engine, job: JobId) -> list[tuple[str, int, str | None]]:
    """Return kind, amount and `of` of the payments that the job requested, in order. Each has an id of its own."""
    events = await event_log.events(engine, "payment.requested", job)
    found = [p for p in (event_log.payload(event)["payment"] for event in events) if "reference" not in p]
    assert len({payment["id"] for payment in found}) == len(found)
    return [(payment["kind"], payment["amount"], payment.get("of")) for payment in found]


async def step(engine: Engine, who: Principal, job: JobId, name: str, purpose: str = "") -> None:
    """Take a step of the job, with the code if there is a `purpose`."""
    code = codes.derive_code(engine, job, purpose, "1") if purpose else None
    await jobs.run_command(engine, who, job, CommandInput(command=name, code=code))


async def complete(engine: Engine, carla: Principal, tom: Principal, job: JobId) -> None:
    """Start, complete and confirm the job."""
    await step(engine, tom, job, "start", "start")
    await step(engine, tom, job, "complete", "completion")
    await step(engine, carla, job, "confirm")


async def change_price(engine: Engine, carla: Principal, tom: Principal, job: JobId, amount: int) -> None:
    """Let the technician propose a price and the customer accept it."""
    proposed = await prices.propose_price(engine, tom, job, amount)
    name = msgspec.json.decode(proposed.proposal)["id"]
    await prices.answer_proposal(engine, carla, job, name, "accepted")


async def job_record(engine: Engine, job: JobId) -> dict[str, str]:
    """Return the job's record in Redis."""
    row: Any = await engine.store.redis.hgetall(keys.job(DEFAULT_ZONE, job))  # type: ignore[misc]
    return {name.decode(): value.decode() for name, value in row.items()}


HOLD = ("hold", PRICE, None)


async def test_what_a_job_requests_for_each_course_of_a_hold(engine: Engine) -> None:
    """Each sequence of reports and steps leads to exactly the expected requests. The jobs are the same after a
    rebuild.
    """
    carla, service, tom = await open_market(engine)
    courses: list[tuple[list[Any], list[Any]]] = [
        # The hold is authorized and captured; nothing is left to release.
        (["authorized", "complete", "captured"], [HOLD, ("charge", PRICE, "pi_1")]),
        # Nothing is held when the work is confirmed: an ordinary charge; the late authorization is released.
        (["complete", "authorized"], [HOLD, ("charge", PRICE, None), ("release", PRICE, "pi_1")]),
        # The technician leaves before and after the authorization.
        (["authorized", "unassign"], [HOLD, ("release", PRICE, "pi_1")]),
        (["unassign", "authorized"], [HOLD, ("release", PRICE, "pi_1")]),
        (["unassign", "authorized", "authorized"], [HOLD, ("release", PRICE, "pi_1")]),
        (["requested", "failed", "unassign"], [HOLD]),
        # The captured amount is refunded, and the held amount is released.
        (
            ["authorized", ("captured", "pi_2", 900), "unassign"],
            [HOLD, ("refund", 900, None), ("release", PRICE, "pi_1")],
        ),
        # An authorization of another amount than the requested one, and a second authorization.
        ([("authorized", "pi_9", 4_999)], [HOLD, ("release", 4_999, "pi_9")]),
        (["authorized", ("authorized", "pi_2", PRICE)], [HOLD, ("release", PRICE, "pi_2")]),
        # Another price requests a new hold, in each order of the reports; a hold of the former price is released.
        (["authorized", ("price", 6_000)], [HOLD, ("release", PRICE, "pi_1"), ("hold", 6_000, None)]),
        ([("price", 6_000), "authorized"], [HOLD, ("hold", 6_000, None), ("release", PRICE, "pi_1")]),
        ([("price", PRICE), "authorized"], [HOLD]),
        # A hold that the bank ended is not captured. If the job is paid in another way, the hold is released.
        (["authorized", "released", "complete"], [HOLD, ("charge", PRICE, None)]),
        (
            ["authorized", "complete", ("captured", "pi_2", PRICE)],
            [HOLD, ("charge", PRICE, "pi_1"), ("release", PRICE, "pi_1")],
        ),
        # The amount that was paid before is not held again: here the award follows a capture of a part.
        (["unassign", ("captured", "pi_2", 900), "accept"], [HOLD, ("hold", PRICE - 900, None)]),
        # A part of the hold is captured: the bank frees the rest, and the job waits for it.
        (["authorized", "complete", ("captured", "pi_1", 4_000)], [HOLD, ("charge", PRICE, "pi_1")]),
    ]
    for course, expected in courses:
        job = await accepted_job(engine, carla, service, tom)
        for move in course:
            await take(engine, carla, tom, job, move)
        assert await requests(engine, job) == expected, course
    await check_rebuild(engine)


async def take(engine: Engine, carla: Principal, tom: Principal, job: JobId, move: Any) -> None:
    """Do one item of a sequence: a step, a price change, or a report."""
    if move == "complete":
        await complete(engine, carla, tom, job)
    elif move == "unassign":
        await step(engine, carla, job, move)
    elif move == "accept":
        other = await people.technician(engine, f"t{job[-6:]}", ServiceId((await job_record(engine, job))["service"]))
        await award(engine, carla, other, job)
    elif move[0] == "price":
        await change_price(engine, carla, tom, job, move[1])
    elif isinstance(move, tuple):
        assert await report(engine, job, *move) == "ok"
    else:
        await report(engine, job, move)


async def award(engine: Engine, carla: Principal, technician: Principal, job: JobId) -> None:
    """Let the technician bid without an amount and the customer accept the bid."""
    await scheduler.open_wave(engine, DEFAULT_ZONE, job, 1)
    bid = await bids.create_bid(engine, technician, job, bids.BidTerms())
    await bids.accept_bid(engine, carla, job, msgspec.json.decode(bid.bid)["id"])


async def test_reports_may_overtake_each_other(engine: Engine) -> None:
    """In each order of the reports about one payment, also if each of them is repeated, a capture counts once, and no
    captured or released payment stays as the job's hold.
    """
    carla, service, tom = await open_market(engine)
    statuses: list[PaymentStatus] = ["requested", "authorized", "captured", "released"]
    for order in itertools.permutations(statuses):
        job = await accepted_job(engine, carla, service, tom)
        for status in order:
            replies = [await report(engine, job, status) for _ in range(2)]
            assert replies in (["ok", "again"], ["illegal_transition"] * 2), (order, status, replies)
        record = await job_record(engine, job)
        assert (record["paid"], record.get("hold", "").endswith('"pi_1"')) == (str(PRICE), False), order
        released = [each for each in await requests(engine, job) if each[0] == "release"]
        assert released == [], order


async def test_an_authorization_races_with_the_leaving_technician(engine: Engine) -> None:
    """In either order, each authorized payment is released exactly once."""
    carla, service, tom = await open_market(engine)
    for _ in range(RACES):
        job = await accepted_job(engine, carla, service, tom)
        await asyncio.gather(
            *(report(engine, job, "authorized") for _ in range(3)), step(engine, carla, job, "unassign")
        )
        assert await requests(engine, job) == [HOLD, ("release", PRICE, "pi_1")]


async def test_an_authorization_races_with_another_price(engine: Engine) -> None:
    """In either order, the old amount is released once and the new one is requested once."""
    carla, service, tom = await open_market(engine)
    for _ in range(RACES):
        job = await accepted_job(engine, carla, service, tom)
        await asyncio.gather(
            *(report(engine, job, "authorized") for _ in range(3)), change_price(engine, carla, tom, job, 6_000)
        )
        hold, *others = await requests(engine, job)
        assert hold == HOLD
        assert sorted(others, key=str) == [("hold", 6_000, None), ("release", PRICE, "pi_1")]


async def test_an_authorization_after_the_job_is_forgotten_is_released(engine: Engine) -> None:
    """A job that only SQL still has is restored with its payments: the late authorization is released, a repeat gets
    the first reply, and a payment that was released before cannot be authorized.
    """
    carla, service, tom = await open_market(engine)
    job = await accepted_job(engine, carla, service, tom)
    await report(engine, job, "authorized")
    await report(engine, job, "released", "pi_0")
    await step(engine, carla, job, "unassign")
    await step(engine, carla, job, "cancel")
    await archiver.run_once(engine)
    redis = engine.store.redis
    await redis.delete(*[name async for name in redis.scan_iter(f"*:job:{job}*")])
    before = await requests(engine, job)
    assert await report(engine, job, "authorized", "pi_0") == IllegalTransition().code
    assert await report(engine, job, "authorized") == "again"
    assert await report(engine, job, "authorized", "pi_2") == "ok"
    assert await requests(engine, job) == [*before, ("release", PRICE, "pi_2")]
    shown = [bytes(item) for item in await payments.find_payments(engine, PAYMENT_SERVICE, job)]
    assert [b'"kind":"hold"' in item for item in shown] == [True, True, True]
