"""The files of an erased person are deleted, both the SQL rows and the bytes: photos, documents, files of chats and the
image of a signature. The ledger stays under the person's id.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from sqlalchemy import select

from engine.archive import ledger_checker, person_export
from engine.audit import heads
from engine.audit.server_keys import HeadKey
from engine.audit.verifier import verify_zone
from engine.domain import erasures, files, message_history, messages, payouts, signing
from engine.domain.message_history import MessageQuery
from engine.domain.messages import MessageDraft
from engine.domain.payouts import NewPayout
from engine.errors import NotErasable
from engine.files.blob_errors import BlobMissing
from engine.files.file_object import FileObject
from engine.rules.ledger import technician_account
from engine.runtime import Engine
from engine.sql.file_tables import files as file_rows
from engine.sql.ledger_tables import ledger_lines
from engine.sql.vault_tables import receipts as receipt_rows
from engine.types import DEFAULT_ZONE, JobId, Principal, room_of
from engine.workers import archiver, file_removal
from tests.archive.erasure.life import Life, begin_life
from tests.archive.erasure.test_signed import pay, results_of, sign_a_job
from tests.archive.test_ledger import read_lines
from tests.archive.test_refunds import PAYMENT_SERVICE
from tests.races.test_signature_races import parts_of
from tests.support import people
from tests.support.clock import advance
from tests.support.photos import tiny_png
from tests.support.signatures import make_png

HOLD_S = 86_400
"""The hold of `managed`, which keeps 15 % of the 5000 that a job costs."""


async def upload(engine: Engine, who: Principal, target: str, photo: bytes) -> FileObject:
    """Upload a photo, and return the file."""
    file = (await files.upload(engine, who, target, None, parts_of(photo))).file
    return file if isinstance(file, FileObject) else msgspec.json.decode(file, type=FileObject)


async def say_with_file(engine: Engine, who: Principal, job: JobId, photo: bytes) -> FileObject:
    """Say a message with a file in the room of the job, and return the file."""
    room = room_of(job)
    file = await upload(engine, who, f"room:{room}", photo)
    draft = MessageDraft(text=f"Look at this, {who.role}", client_id=file.id, files=(file.id,))
    await messages.say(engine, who, room, draft)
    return file


async def stored_blobs(engine: Engine, names: dict[str, str]) -> set[str]:
    """Return the names of those blobs (name to SHA-256) whose bytes are stored, after the chore has run."""
    await file_removal.run_once(engine)
    found = set()
    for name, sha256 in names.items():
        try:
            await engine.blobs.read(sha256)
            found.add(name)
        except BlobMissing:
            pass
    return found


async def sign_with_files(life: Life) -> tuple[JobId, dict[str, str]]:
    """Let both say a message with a file about a job that the customer signs and pays. Return the job, and the SHA-256
    of each of its files by a name.
    """
    engine = life.engine
    job, _ = await sign_a_job(life)
    said = {
        "chat of the customer": await say_with_file(engine, life.customer, job, tiny_png(21)),
        "chat of the technician": await say_with_file(engine, life.technician, job, tiny_png(22)),
    }
    await pay(life, job)
    await archiver.run_once(engine)
    photos = await files.list_photos(engine, life.customer, str(job))
    async with engine.archive.begin_read() as conn:
        image = (await conn.execute(select(receipt_rows.c.image))).scalar_one()
    named = {name: file.sha256 for name, file in said.items()} | {"signature": image}
    return job, named | {f"photo {number}": photo.sha256 for number, photo in enumerate(photos)}


async def said_in(engine: Engine, who: Principal, job: JobId) -> dict[str, Any]:
    """Return the message of each side about a job, by the sender's id, as ``who`` reads them."""
    page = await message_history.list_messages(engine, who, room_of(job), MessageQuery())
    said = [msgspec.json.decode(message) for message in page.items]
    return {message["sender"]["id"]: message for message in said}


async def exported(engine: Engine, who: Principal) -> tuple[set[str], list[str]]:
    """Return what the export of a person has of files: the SHA-256 of each, and the record of each receipt."""
    lines = [line async for line in person_export.export_person(engine.archive, who.id)]
    rows = [(line["table"], line["row"]) for line in lines if line["kind"] == "row"]
    records = [row["record"] for table, row in rows if table == "receipts"]
    return {row["sha256"] for table, row in rows if table == "files"}, records


async def test_the_files_of_an_erased_customer_go(engine: Engine) -> None:
    """Photos, the image of the signature and the files of the chat about the customer's job are deleted, both the SQL
    rows and the bytes, whoever uploaded them. What the technician said stays. Bytes that another job has too stay.
    """
    life = await begin_life(engine, 0)
    job, blobs = await sign_with_files(life)
    assert set(blobs) == {"chat of the customer", "chat of the technician", "signature", "photo 0", "photo 1"}
    found, (record,) = await exported(engine, life.customer)
    assert found == set(blobs.values()) - {blobs["chat of the technician"]} and str(job) in record
    other = await people.offered_job(engine, await people.customer(engine), life.service)
    for command in ("claim", "depart", "arrive"):
        await life.step(other, command)
    shared = await upload(engine, life.technician, f"job:{other}", make_png(shade=1))
    assert shared.sha256 in blobs.values()
    assert await stored_blobs(engine, blobs) == set(blobs)
    await life.archive_all()
    assert (await life.erase()).state == "done"
    left = await stored_blobs(engine, blobs)
    assert {blobs[name] for name in left} == {shared.sha256}
    async with engine.archive.begin_read() as conn:
        assert list((await conn.execute(select(file_rows.c.id))).scalars()) == [shared.id]
    said = await said_in(engine, life.technician, job)
    own, theirs = said[life.customer.id], said[life.technician.id]
    assert (own["text"], own["files"], own["erased"]) == ("", [], True)
    assert (theirs["text"], theirs["files"]) == ("Look at this, technician", [])
    assert (await verify_zone(engine.archive, DEFAULT_ZONE)).findings == []


async def test_an_erased_technician_leaves_their_ledger(engine: Engine) -> None:
    """A technician with money, or with a payout under way, cannot be erased. Then their documents, photos and files of
    chats go, and the customer's stay; the ledger has the same lines, which sum to 0, and the customer's receipt
    verifies.
    """
    life = await begin_life(engine, 0)
    tom = life.technician
    job, blobs = await sign_with_files(life)
    await heads.sign_newest(engine.archive, DEFAULT_ZONE, HeadKey(engine.signer))
    document = await upload(engine, tom, f"technician:{tom.id}", tiny_png(23))
    blobs["document"] = document.sha256
    assert await exported(engine, tom) == (
        set(blobs.values()) - {blobs["chat of the customer"], blobs["signature"]},
        [],
    )
    with pytest.raises(NotErasable) as refusal:
        await life.erase(tom)
    assert refusal.value.extra["blockers"] == ["balance"]
    await advance(engine, HOLD_S + 1)
    new = NewPayout(technician=tom.id, amount=4250, currency="USD", reference="tr_1")
    await archiver.run_once(engine)
    payout = (await payouts.request_payout(engine, PAYMENT_SERVICE, new)).value
    with pytest.raises(NotErasable) as refusal:
        await erasures.request_erasure(engine, people.ADMIN, tom.id, reason="asked", password=None)
    assert "payout" in refusal.value.extra["blockers"]
    await payouts.settle_payout(engine, PAYMENT_SERVICE, payout.id, "paid")
    await life.archive_all()
    before = await read_lines(engine.archive)
    assert (await life.erase(tom)).state == "done"
    assert await stored_blobs(engine, blobs) == {"chat of the customer", "signature"}
    said = await said_in(engine, life.customer, job)
    assert (len(said[life.customer.id]["files"]), said[tom.id]["files"], said[tom.id]["text"]) == (1, [], "")

    assert await read_lines(engine.archive) == before
    async with engine.archive.begin_read() as conn:
        accounts = select(ledger_lines.c.amount).where(ledger_lines.c.account == technician_account(tom.id))
        assert sum((await conn.execute(accounts)).scalars()) == 0
    compared, problems = await ledger_checker.find_problems(engine.archive)
    assert compared >= 4 and problems == []
    await heads.sign_newest(engine.archive, DEFAULT_ZONE, HeadKey(engine.signer))
    record = await signing.read_record(engine, life.customer, str(job))
    found = await results_of(engine, signing.receipt_id(job), record.sha256)
    assert (found["record"], found["photos"], found["image"], found["name"]) == ("ok", "erased", "ok", "ok")
    assert (await verify_zone(engine.archive, DEFAULT_ZONE)).findings == []
