"""Unattached files are deleted, and bytes are deleted after the last row that names them."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import insert, update

from engine.domain import files as domain_files
from engine.domain import jobs
from engine.errors import Unavailable
from engine.files import file_rows
from engine.files.blob_errors import BlobMissing
from engine.files.file_object import FileObject
from engine.runtime import Engine
from engine.sql.file_tables import files
from engine.types import DEFAULT_ZONE
from engine.workers import archiver, file_removal
from tests.engine import staff
from tests.support import people
from tests.support.closed_zone import closed_zone
from tests.support.photos import attach_photos, tiny_png
from tests.support.postgres import on_both_databases


async def is_stored(engine: Engine, sha256: str) -> bool:
    """Return whether the blob store has a blob."""
    try:
        await engine.blobs.read(sha256)
    except BlobMissing:
        return False
    return True


async def test_only_what_hangs_on_nothing_is_deleted(engine: Engine) -> None:
    """The bytes of a photo of two jobs stay while one row names them. An old file that no event attached is deleted
    with its bytes, and so is the temporary file of a killed process.
    """
    service, carla = await people.service(engine), await people.customer(engine)
    tom = await people.technician(engine, "tom", service, capacity=2)
    held = [await people.offered_job(engine, carla, service) for _ in range(2)]
    for job in held:
        await jobs.claim(engine, tom, job)
        await attach_photos(engine, tom, job, 1)
    await archiver.run_once(engine)
    rows = await file_rows.find_rows(engine.archive)
    assert len(rows) == 2 and {row.sha256 for row in rows} == {rows[0].sha256} and all(row.attached_at for row in rows)
    left = engine.blobs.temporary / "left"
    fresh = engine.blobs.temporary / "fresh"
    for path in (left, fresh):
        await asyncio.to_thread(Path.write_bytes, path, b"x")
    os.utime(left, (time.time() - 7200,) * 2)
    assert await file_removal.run_once(engine) == 1, "only what the killed process left"
    assert fresh.exists() and not left.exists()

    async def age(row: file_rows.FileRow) -> None:
        old = update(files).where(files.c.id == row.id).values(attached_at=None, used_at=0)
        async with engine.archive.begin_write() as conn:
            await conn.execute(old)

    await age(rows[0])
    with closed_zone(engine.store, DEFAULT_ZONE):
        await file_removal.run_once(engine)
        assert len(await file_rows.find_rows(engine.archive)) == 2, "the log of a closed zone may say that it hangs"
        await insert_old_document(engine)
        await file_removal.run_once(engine)
        assert len(await file_rows.find_rows(engine.archive)) == 2, "no log says that of a document"
    await file_removal.run_once(engine)
    assert [row.id for row in await file_rows.find_rows(engine.archive)] == [rows[1].id]
    assert await is_stored(engine, rows[1].sha256), "the other job still names it"
    await age(rows[1])
    await file_removal.run_once(engine)
    assert await file_rows.find_rows(engine.archive) == [] and not await is_stored(engine, rows[1].sha256)
    assert await file_removal.run_once(engine) == 0


async def insert_old_document(engine: Engine) -> None:
    """Insert the row of a document that was never attached, a day ago."""
    [row, *_] = await file_rows.find_rows(engine.archive)
    document = row._replace(id="file_old", target="technician:usr_x", used_at=0, attached_at=None)
    async with engine.archive.begin_write() as conn:
        await conn.execute(insert(files).values(document._asdict()))


@on_both_databases
async def test_bytes_that_are_uploaded_while_they_are_deleted_stay(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upload of the same bytes during their deletion waits for the chore, and stores the bytes again."""
    new = await staff.register_technician(engine)
    uploads: list[asyncio.Task[str]] = []

    async def upload() -> str:
        async def parts() -> AsyncIterator[bytes]:
            yield tiny_png()

        outcome = await domain_files.upload(engine, new, f"technician:{new.id}", None, parts())
        return msgspec.convert(msgspec.to_builtins(outcome.file), FileObject).sha256

    delete = engine.blobs.delete

    async def delete_late(sha256: str) -> None:
        uploads.append(asyncio.create_task(upload()))
        await asyncio.sleep(0.2)  # the upload gets as far as it can
        assert not uploads[0].done()
        async with engine.archive.begin_write() as conn:  # SQLite has one writer
            await conn.execute(update(files).values(kind="other"))
        await delete(sha256)

    monkeypatch.setattr(engine.blobs, "delete", delete_late)
    sha256 = await upload()
    async with engine.archive.begin_write() as conn:
        await file_rows.delete_rows(conn, engine.archive, files.c.sha256 == sha256)
    assert await file_removal.run_once(engine) == 1
    assert await uploads[0] == sha256 and await is_stored(engine, sha256)
    assert await file_removal.run_once(engine) == 0 and await is_stored(engine, sha256)

    async def fail(_: str) -> None:
        raise Unavailable("the store is away")

    monkeypatch.setattr(engine.blobs, "delete", fail)
    async with engine.archive.begin_write() as conn:
        await file_rows.delete_rows(conn, engine.archive, files.c.sha256 == sha256)
    monkeypatch.setattr(file_rows, "DELETION_MS", 300)
    monkeypatch.setattr(file_rows, "DELETION_WAITS", 1)
    with pytest.raises(Unavailable, match="away"):
        await file_removal.run_once(engine)
    with pytest.raises(Unavailable, match="being deleted"):
        await upload()
    monkeypatch.setattr(file_rows, "DELETION_WAITS", 100)
    assert await upload() == sha256 and await is_stored(engine, sha256)
