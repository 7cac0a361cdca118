"""A step that takes a payment captured before it: however many events come first, its repeat is answered as it was."""

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
from tests.engine.test_bids import bid, post
from tests.engine.test_repeats import reply_of
from tests.support import event_log, people

PAY = Principal(UserId("usr_pay"), "service", "Payments")
PRICE = 5000
PREPAY = """
[commands.prepay]
by = ["service"]
from = ["{}"]
unless = ["prepaid"]
marks = "prepaid"
does = "capture"
event = "payment.received"

[commands.expire]"""
HEARD = '[events."payment.received"]'
HELD = {"home_service": "accepted", "marketplace": "scheduled"}
LOSERS = 70
Take = Callable[[str], Awaitable[Outcome]]


@pytest.fixture
def settings(settings: Settings, tmp_path: Path) -> Settings:
    """What was captured counts as soon as the job has a technician."""
    for name, held in HELD.items():
        text = (catalogue.shipped_folder() / f"{name}.toml").read_text().replace("size = 10,", "size = 100,")
        assert text.count("\n[commands.expire]") == 1
        text = text.replace("\n[commands.expire]", PREPAY.format(held))
        (tmp_path / f"{name}.toml").write_text(text if HEARD in text else f'{text}\n{HEARD}\nto = ["customer"]\n')
    return msgspec.structs.replace(settings, blueprints=str(tmp_path))


async def pay(engine: Engine, job: JobId) -> None:
    """Capture the price."""
    await payments.put_payment(
        engine, PAY, job, Payment(reference="pi_1", status="captured", amount=PRICE, currency="USD")
    )


async def awarded(engine: Engine, serves: ServiceId, carla: Principal) -> tuple[JobId, Take]:
    """A job with four bids, one of which is accepted."""
    job = await post(engine, carla, serves, amount=PRICE)
    made = [await bid(engine, await people.technician(engine, f"t{n}", serves), job) for n in range(4)]
    await pay(engine, job)
    return job, lambda key: bids.accept(engine, carla, job, made[0], key=key)


async def claimed(engine: Engine, serves: ServiceId, carla: Principal) -> tuple[JobId, Take]:
    """A job offered to so many that its losers are told in pieces."""
    one, *_ = [await people.technician(engine, f"t{n}", serves, rating=5.0) for n in range(LOSERS + 1)]
    job = await people.offered(engine, carla, serves)
    await pay(engine, job)
    return job, lambda key: jobs.claim(engine, one, job, key=key)


@pytest.mark.parametrize(("case", "least"), [(awarded, 5), (claimed, 3)])
async def test_a_step_that_takes_an_earlier_capture_is_repeated_alike(
    engine: Engine, case: Callable[[Engine, ServiceId, Principal], Awaitable[tuple[JobId, Take]]], least: int
) -> None:
    """Under its key, under another, and under that one again, all with the job as the capture left it."""
    serves, carla = await people.service(engine, base_amount=PRICE), await people.customer(engine)
    job, take = await case(engine, serves, carla)
    before = len(await event_log.events(engine, None, job))
    keys = [str(uuid.uuid4()) for _ in range(2)]
    first = await take(keys[0])
    [*earlier, last] = (await event_log.events(engine, None, job))[before:]
    assert len(earlier) >= least and last.type == "job.status" and last.seq == first.seq
    assert b'"prepaid":' in reply_of(first)[0]
    for key in (keys[0], keys[1], keys[1]):
        again = await take(key)
        assert again.repeated and reply_of(again) == reply_of(first)
    assert (await event_log.events(engine, None, job))[-1].seq == last.seq
