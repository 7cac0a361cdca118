"""Photos and the signature of a job are rebuilt from SQL."""

from __future__ import annotations

import pytest

from engine.domain import files, jobs, payments, signing
from engine.domain.commands import CommandInput
from engine.domain.payments import Payment
from engine.errors import IllegalTransition
from engine.runtime import Engine
from tests.races.test_signature_races import PAYMENT_SERVICE, finish_job, parts_of, signature
from tests.rebuild.compare import check_rebuild
from tests.support import people
from tests.support.photos import tiny_png
from tests.support.postgres import on_both_databases

KEY = "7f6b1c9e-4b8a-4f40-9d6e-0d5b6f3c1a11"


@on_both_databases
async def test_a_signed_job_and_one_with_photos_are_rebuilt(engine: Engine) -> None:
    """After a rebuild a signed job accepts neither a photo nor a second signature, and is paid when the rest of its
    amount is captured. A job that waits for its signature is signed with the same digest as before.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service, capacity=10)
    signed, waiting = [await finish_job(engine, carla, tom, service) for _ in range(2)]
    first = await signing.read_record(engine, carla, signed)
    done = await signing.sign_job(engine, carla, signed, signature(first.sha256), key=KEY)
    part = Payment(reference="part", status="captured", amount=1, currency="USD")
    await payments.put_payment(engine, PAYMENT_SERVICE, signed, part)
    shown = await signing.read_record(engine, carla, waiting)
    before = await check_rebuild(engine)
    assert before[f"job:{signed}"]["signed"] and before[f"job:{signed}"]["photos"]
    with pytest.raises(IllegalTransition):
        await files.upload(engine, tom, f"job:{signed}", None, parts_of(tiny_png(9)))
    again = await signing.sign_job(engine, carla, signed, signature(first.sha256), key=KEY)
    assert again.repeated and (again.seq, again.job) == (done.seq, done.job)
    assert (await signing.read_record(engine, carla, waiting)).sha256 == shown.sha256
    await signing.sign_job(engine, carla, waiting, signature(shown.sha256))
    with pytest.raises(IllegalTransition):
        await jobs.run_command(engine, carla, waiting, CommandInput(command="sign"))
