"""The receipt of a job whose customer is erased: the signed content is deleted, and the digests still verify."""

from __future__ import annotations

import pytest
from sqlalchemy import select, update

from engine.archive import retention
from engine.audit import heads
from engine.audit.server_keys import HeadKey
from engine.audit.verifier import verify_zone
from engine.clock import now_ms
from engine.domain import erasures, files, jobs, payments, signing
from engine.domain.commands import CommandInput
from engine.domain.payments import Payment
from engine.domain.signing import Signature, receipt_id
from engine.errors import NotFound
from engine.files.blob_errors import BlobMissing
from engine.rules.canonical import digest_of
from engine.runtime import Engine
from engine.sql.schema import jobs as job_rows
from engine.sql.vault_tables import receipts as receipt_rows
from engine.types import DEFAULT_ZONE, JobId
from engine.vault import checks, receipts
from engine.workers import archiver, file_removal
from tests.archive.erasure.life import ADDRESS, NAME, TEXTS, Life, begin_life
from tests.races.test_signature_races import PAYMENT_SERVICE, parts_of
from tests.support import people
from tests.support.signatures import make_png
from tests.support.traces import traces_in_redis, traces_in_sql


async def sign_a_job(life: Life, *, photo_of_customer: bool = False) -> tuple[JobId, str]:
    """Let the customer book a job and sign it, with photos by the technician, and perhaps one by the customer. Return
    the job and the signed digest.
    """
    engine = life.engine
    booked = await people.job(engine, life.customer, life.service, blueprint="managed", address=ADDRESS)
    job = people.id_of(booked)
    assign = CommandInput(command="assign", technician=life.technician.id)
    await jobs.run_command(engine, people.ADMIN, job, assign)
    for command in ("accept", "depart", "start"):
        await jobs.run_command(engine, life.technician, job, CommandInput(command=command))
    for shade in (1, 2):
        await files.upload(engine, life.technician, f"job:{job}", None, parts_of(make_png(shade=shade)))
    if photo_of_customer:
        await files.upload(engine, life.customer, f"job:{job}", None, parts_of(make_png(shade=3)))
    await jobs.run_command(engine, life.technician, job, CommandInput(command="finish"))
    sha256 = (await signing.read_record(engine, life.customer, job)).sha256
    await signing.sign_job(engine, life.customer, job, Signature(sha256, NAME, make_png(), "png"))
    return job, sha256


async def pay(life: Life, job: JobId) -> None:
    """Report the captured payment of a signed job, so that it is over."""
    captured = Payment(reference="ref_1", status="captured", amount=5_000, currency="USD")
    done = await payments.put_payment(life.engine, PAYMENT_SERVICE, job, captured)
    assert b'"status":"paid"' in bytes(done.job)


async def results_of(engine: Engine, receipt: str, sha256: str) -> dict[str, str]:
    """Return the result of each check of a receipt."""
    found = await receipts.verify_receipt(engine, receipt, sha256)
    assert checks.is_verified(found)
    return {check.name: check.result for check in found}


async def test_the_receipt_of_an_erased_customer_verifies(engine: Engine) -> None:
    """The erasure deletes the record, the name, the image and the photos, and their checks report `erased`. The
    server's signature, the leaf and the head still verify, and so does the audit tree.
    """
    life = await begin_life(engine, 0)
    job, sha256 = await sign_a_job(life)
    receipt = signing.receipt_id(job)
    await pay(life, job)
    await life.archive_all()
    await heads.sign_newest(engine.archive, DEFAULT_ZONE, HeadKey(engine.signer))
    assert set((await results_of(engine, receipt, sha256)).values()) == {"ok"}
    async with engine.archive.begin_read() as conn:
        image = (await conn.execute(select(receipt_rows.c.image))).scalar_one()
    done = await life.erase()
    assert (done.state, done.blockers) == ("done", [])
    await heads.sign_newest(engine.archive, DEFAULT_ZONE, HeadKey(engine.signer))
    assert await results_of(engine, receipt, sha256) == {
        **dict.fromkeys(("record", "photos", "image", "name", "event"), "erased"),
        **dict.fromkeys(("server_signature", "inclusion", "head"), "ok"),
    }
    assert await traces_in_sql(engine.archive, TEXTS) == []
    assert await traces_in_redis(engine, TEXTS) == []
    assert (await verify_zone(engine.archive, DEFAULT_ZONE)).findings == []
    await file_removal.run_once(engine)
    with pytest.raises(BlobMissing):
        await engine.blobs.read(image)
    with pytest.raises(NotFound):
        await signing.read_record(engine, people.ADMIN, str(job))


async def test_the_receipt_of_an_erased_technician_verifies(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the erasure of the technician their photos and the text of the event are erased. What the server did not
    delete and has lost is missing: the customer's photo, and the image.
    """
    life = await begin_life(engine, 0)
    job, sha256 = await sign_a_job(life, photo_of_customer=True)
    receipt = signing.receipt_id(job)
    await pay(life, job)
    await life.archive_all()
    await heads.sign_newest(engine.archive, DEFAULT_ZONE, HeadKey(engine.signer))

    async def find_no_blockers(*_: object) -> list[object]:
        return []

    # leave out the blocker of the money, which is paid out a day later
    monkeypatch.setattr(erasures, "read_blockers", find_no_blockers)
    done = await life.erase(life.technician)
    assert (done.state, done.blockers) == ("done", [])
    await file_removal.run_once(engine)
    gone = dict.fromkeys(("photos", "event"), "erased")
    rest = dict.fromkeys(("record", "image", "name", "server_signature", "inclusion", "head"), "ok")
    assert await results_of(engine, receipt, sha256) == {**rest, **gone}
    async with engine.archive.begin_read() as conn:
        image = (await conn.execute(select(receipt_rows.c.image))).scalar_one()
    own = digest_of(make_png(shade=3))
    for lost, check in ((own, "photos"), (image, "image")):
        content = await engine.blobs.read(lost)
        await engine.blobs.delete(lost)
        found = await receipts.verify_receipt(engine, receipt, sha256)
        assert not checks.is_verified(found)
        assert {each.name for each in found if each.result == "missing"} == {check}
        await engine.blobs.put(lost, content)


async def test_the_photos_of_an_old_job_are_retired(engine: Engine) -> None:
    """Retention deletes the photos of an old job, and the job's receipt still verifies."""
    life = await begin_life(engine, 0)
    job, sha256 = await sign_a_job(life)
    await pay(life, job)
    await archiver.run_once(engine)
    await heads.sign_newest(engine.archive, DEFAULT_ZONE, HeadKey(engine.signer))
    assert (await results_of(engine, receipt_id(job), sha256))["photos"] == "ok"
    async with engine.archive.begin_write() as conn:
        await conn.execute(update(job_rows).where(job_rows.c.id == job).values(hot=False))
    assert await retention.delete_jobs(engine.archive, now_ms() + 1)
    await file_removal.run_once(engine)
    assert (await results_of(engine, receipt_id(job), sha256))["photos"] == "retired"
