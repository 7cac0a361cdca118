"""A finished job that is restored from SQL has its photos and its signature."""

from __future__ import annotations

from engine.domain import files, payments, signing
from engine.domain.payments import Payment
from engine.runtime import Engine
from tests.archive.test_refunds import archive_and_forget
from tests.races.test_signature_races import PAYMENT_SERVICE, finish_job, signature
from tests.support import people


async def test_a_late_refund_keeps_photos_and_record(engine: Engine) -> None:
    """A refund of a job that Redis has deleted restores the whole job: photos and record are the same before and
    after.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service, capacity=10)
    job = await finish_job(engine, carla, tom, service)
    shown = await signing.read_record(engine, carla, job)
    await signing.sign_job(engine, carla, job, signature(shown.sha256))
    paid = Payment(reference="a", status="captured", amount=5_000, currency="USD")
    await payments.put_payment(engine, PAYMENT_SERVICE, job, paid)
    photos = await files.list_photos(engine, carla, job)
    await archive_and_forget(engine, job)
    refund = Payment(reference="a", status="refunded", amount=100, currency="USD")
    await payments.put_payment(engine, PAYMENT_SERVICE, job, refund)
    assert len(photos) == 2 and await files.list_photos(engine, carla, job) == photos
    assert (await signing.read_record(engine, carla, job)).sha256 == shown.sha256
    await archive_and_forget(engine, job)
    assert await files.list_photos(engine, carla, job) == photos
