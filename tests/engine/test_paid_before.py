"""A payment that is captured before the step of the job to which it belongs. The step that applies it may append many
events, and its repeat has the same reply.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from engine.blueprint import catalogue
from engine.domain import bids, jobs, payments
from engine.domain.payments import Payment
from engine.idempotency.in_redis import Outcome
from engine.process.settings import Settings
from engine.runtime import Engine
from engine.types import JobId, Principal, ServiceId, UserId
from tests.engine.test_bids import create_bid, post_job
from tests.engine.test_repeats import reply_of
from tests.support import event_log, people

PAYMENT_SERVICE = Principal(UserId("usr_pay"), "service", "Payments")
PRICE = 5000
PREPAY_COMMAND = """
[commands.prepay]
by = ["service"]
from = ["{}"]
unless = ["prepaid"]
marks = "prepaid"
does = "capture"
event = "payment.received"

[commands.expire]"""
RECEIVED_EVENT = '[events."payment.received"]'
STATE_WITH_HOLDER = {"home_service": "accepted", "marketplace": "scheduled"}
FEW_OFFERS, MANY_OFFERS = 60, 70
"""How many others have an offer: so few that the claim closes the offers, and so many that a task closes them."""
TakeJob = Callable[[str], Awaitable[Outcome]]
"""Gives the job a holder, under an idempotency key: a claim, or the acceptance of a bid."""


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """Return settings with two blueprints in which a captured payment moves the job as soon as the job has a
    technician.
    """
    for name, held in STATE_WITH_HOLDER.items():
        text = (catalogue.shipped_folder() / f"{name}.toml").read_text().replace("size = 10,", "size = 100,")
        assert text.count("\n[commands.expire]") == 1
        text = text.replace("\n[commands.expire]", PREPAY_COMMAND.format(held))
        (tmp_path / f"{name}.toml").write_text(
            text if RECEIVED_EVENT in text else f'{text}\n{RECEIVED_EVENT}\nto = ["customer"]\n'
        )
    return msgspec.structs.replace(settings, blueprints=str(tmp_path))


async def capture_price(engine: Engine, job: JobId) -> None:
    """Record a captured payment of the whole price."""
    await payments.put_payment(
        engine, PAYMENT_SERVICE, job, Payment(reference="pi_1", status="captured", amount=PRICE, currency="USD")
    )


async def job_with_bids(engine: Engine, service: ServiceId, carla: Principal) -> tuple[JobId, TakeJob]:
    """Create a paid job with four bids. Return the job and a function that accepts the first bid under a key."""
    job = await post_job(engine, carla, service, amount=PRICE)
    bid_ids = [await create_bid(engine, await people.technician(engine, f"t{n}", service), job) for n in range(4)]
    await capture_price(engine, job)
    return job, lambda key: bids.accept_bid(engine, carla, job, bid_ids[0], key=key)


async def job_with_offers(
    engine: Engine, service: ServiceId, carla: Principal, others: int = FEW_OFFERS
) -> tuple[JobId, TakeJob]:
    """Create a paid job with offers to one technician and to `others`. Return the job and a function with which the one
    claims the job under a key.
    """
    tom, *_ = [await people.technician(engine, f"t{n}", service, rating=5.0) for n in range(others + 1)]
    job = await people.offered_job(engine, carla, service)
    await capture_price(engine, job)
    return job, lambda key: jobs.claim(engine, tom, job, key=key)


async def job_with_many_offers(engine: Engine, service: ServiceId, carla: Principal) -> tuple[JobId, TakeJob]:
    """Create a paid job with so many offers that a task closes them after the claim. Return the job and a function that
    claims it under a key.
    """
    return await job_with_offers(engine, service, carla, MANY_OFFERS)


@pytest.mark.parametrize(("case", "least"), [(job_with_bids, 5), (job_with_offers, 2), (job_with_many_offers, 1)])
async def test_a_repeated_step_returns_the_job_after_the_earlier_capture(
    engine: Engine, case: Callable[[Engine, ServiceId, Principal], Awaitable[tuple[JobId, TakeJob]]], least: int
) -> None:
    """A step that applies an earlier payment returns the job as it is after the payment. The reply is the same for a
    repeat under the same key and under another key.
    """
    service, carla = await people.service(engine, base_amount=PRICE), await people.customer(engine)
    job, take_job = await case(engine, service, carla)
    before = len(await event_log.events(engine, None, job))
    keys = [str(uuid.uuid4()) for _ in range(2)]
    first = await take_job(keys[0])
    [*earlier, last] = (await event_log.events(engine, None, job))[before:]
    assert len(earlier) >= least and last.type == "job.status" and last.seq == first.seq
    assert b'"prepaid":' in reply_of(first)[0]
    for key in (keys[0], keys[1], keys[1]):
        again = await take_job(key)
        assert again.repeated and reply_of(again) == reply_of(first)
    assert (await event_log.events(engine, None, job))[-1].seq == last.seq
