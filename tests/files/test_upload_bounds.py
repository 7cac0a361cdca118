"""Uploads that are too large or too many at the same time are refused, and leave nothing behind."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

import httpx
import msgspec
import pytest

from engine.errors import Unavailable
from engine.files import file_rows, row_bounds, uploads
from engine.files.file_rows import FileRow
from engine.rules.photos import MAX_BYTES
from engine.sql.database import Archive
from engine.sql.file_tables import files
from engine.store import keys
from engine.types import DEFAULT_ZONE, JobId
from engine.workers import file_removal
from tests.files.test_uploads import Work, code_of, upload
from tests.story.conftest import Person, Scenario
from tests.support.photos import tiny_png
from tests.support.wait import wait_until


def stream_to(who: Person, job: str, parts: AsyncIterator[bytes]) -> asyncio.Task[int]:
    """Upload a photo without a Content-Length, part by part. The result is the status."""
    return asyncio.create_task(_stream(who, job, parts))


async def _stream(who: Person, job: str, parts: AsyncIterator[bytes]) -> int:
    url = who.http.base_url
    reader, writer = await asyncio.open_connection(url.host, url.port)
    try:
        writer.write(
            f"POST /v1/files?for=job:{job} HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {who.bearer}\r\n"
            "Transfer-Encoding: chunked\r\n\r\n".encode()
        )
        async for part in parts:
            writer.write(b"%x\r\n%b\r\n" % (len(part), part))
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        return int((await reader.readline()).split()[1])
    finally:
        writer.close()


async def test_refused_uploads_leave_nothing_behind(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """One byte above 8 MiB is too large, with and without Content-Length. If SQL refuses the row, the upload is
    unavailable.
    """
    work = await Work.begin(scenario)
    await work.accept()
    engine, target = scenario.server.engine, f"job:{work.job}"

    def left() -> list[str]:
        return [path.name for path in engine.blobs.temporary.rglob("*")]

    assert code_of(await upload(work.tom, target, bytes(MAX_BYTES + 1))) == (413, "too_large")

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(MAX_BYTES // 2**20):
            yield bytes(2**20)
        yield b"x"

    assert await stream_to(work.tom, work.job, parts()) == 413
    assert left() == []

    async def refuse(*_: object) -> None:
        raise Unavailable("SQL is away")

    with monkeypatch.context() as patch:
        patch.setattr(file_rows, "store_row", refuse)
        assert code_of(await upload(work.tom, target, tiny_png())) == (503, "unavailable")
    assert left() == [] and await file_rows.find_rows(engine.archive) == []
    assert (await upload(work.tom, target, tiny_png())).status_code == 201
    assert left() == []


async def test_more_uploads_at_once_than_slots(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fifth upload of a user is rate_limited, and the first above those of the process is unavailable, unless
    another one is slow: then that one is ended. Each gives its slot back.
    """
    work = await Work.begin(scenario)
    await work.accept()
    target, slots, go = f"job:{work.job}", scenario.server.engine.uploads, asyncio.Event()

    async def slow(photo: bytes) -> AsyncIterator[bytes]:
        yield photo[:8]
        await go.wait()
        yield photo[8:]

    most = uploads.MAX_UPLOADS_OF_CALLER
    waiting = [stream_to(work.tom, work.job, slow(tiny_png(number))) for number in range(most)]
    await wait_until(lambda: slots.count_of(work.tom.id) == most)
    assert code_of(await upload(work.tom, target, tiny_png(99))) == (429, "rate_limited")
    monkeypatch.setattr(uploads, "MAX_UPLOADS", most)
    assert code_of(await upload(work.carla, target, tiny_png(98))) == (503, "unavailable")
    await wait_until(lambda: sum(each.received for each in slots._running) == 8 * most)
    with monkeypatch.context() as patch:
        patch.setattr(uploads, "GRACE_S", 0.0)
        assert (await upload(work.carla, target, tiny_png(98))).status_code == 201
    assert slots.count_of(work.tom.id) == most - 1
    assert code_of(await upload(work.carla, target, tiny_png(97))) != (503, "unavailable")
    go.set()
    assert sorted(await asyncio.gather(*waiting)) == [201] * (most - 1) + [503]
    assert slots.count == 0
    assert (await upload(work.tom, target, tiny_png(99))).status_code == 201


async def test_bounds_hold_for_uploads_at_once(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """A technician has 20 documents, whatever comes at once, and the same bytes again are 200 also then. A user has a
    bounded number of files, and of bytes, that hang on nothing. What is refused leaves no row.
    """
    fixing = await scenario.create_service("Fixing")
    tom = await scenario.create_technician("Tom", fixing, approved=False)
    engine, target = scenario.server.engine, f"technician:{tom.id}"
    monkeypatch.setattr(uploads, "MAX_UPLOADS_OF_CALLER", 32)
    sent = await asyncio.gather(*(upload(tom, target, tiny_png(number)) for number in range(23)))
    assert Counter(reply.status_code for reply in sent) == {201: 20, 422: 3}
    stored = next(reply.json()["file"] for reply in sent if reply.status_code == 201)
    number = next(place for place, reply in enumerate(sent) if reply.status_code == 201)
    again = await upload(tom, target, tiny_png(number))
    assert (again.status_code, again.json()["file"]["id"]) == (200, stored["id"])
    other_kind = await upload(tom, target, tiny_png(number), kind="licence")
    assert code_of(other_kind) == (422, "invalid") and other_kind.json()["errors"][0]["pointer"] == "/kind"
    assert len(await file_rows.find_rows(engine.archive)) == 20

    work = await Work.begin(scenario)
    await work.accept()
    room = f"room:{work.room}"
    with monkeypatch.context() as patch:
        patch.setattr(row_bounds, "MAX_UNATTACHED", 3)
        sent = await asyncio.gather(*(upload(work.carla, room, tiny_png(number)) for number in range(6)))
        assert Counter(reply.status_code for reply in sent) == {201: 3, 429: 3}
        assert code_of(await upload(work.carla, room, tiny_png(7))) == (429, "rate_limited")
        assert (await upload(work.tom, room, tiny_png(7))).status_code == 201
    with monkeypatch.context() as patch:
        patch.setattr(row_bounds, "MAX_UNATTACHED_BYTES", 4 * len(tiny_png()) - 1)
        assert code_of(await upload(work.carla, room, tiny_png(7))) == (429, "rate_limited")
    assert len(await file_rows.find_rows(engine.archive, files.c.by == work.carla.id)) == 3


async def test_an_upload_does_not_outlive_the_account(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the account is closed while its upload is under way, nothing is stored; if an erasure deletes the row before
    the blob is stored, the blob goes too.
    """
    fixing = await scenario.create_service("Fixing")
    tom, una = [await scenario.create_technician(name, fixing, approved=False) for name in ("Tom", "Una")]
    engine = scenario.server.engine
    put, store_row = engine.blobs.put, file_rows.store_row

    async def suspend_and_store(archive: Archive, row: FileRow) -> tuple[FileRow, bool]:
        assert (await scenario.admin.request("PATCH", f"/v1/users/{tom.id}", {"active": False})).status_code == 200
        return await store_row(archive, row)

    with monkeypatch.context() as patch:
        patch.setattr(file_rows, "store_row", suspend_and_store)
        assert code_of(await upload(tom, f"technician:{tom.id}", tiny_png(1))) == (403, "forbidden")
    assert await file_rows.find_rows(engine.archive) == []

    async def erase_and_put(sha256: str, source: Any) -> None:
        async with engine.archive.begin_write() as conn:
            await file_rows.delete_rows(conn, engine.archive, files.c.by == una.id)
        await file_removal.run_once(engine)
        await put(sha256, source)

    with monkeypatch.context() as patch:
        patch.setattr(engine.blobs, "put", erase_and_put)
        assert code_of(await upload(una, f"technician:{una.id}", tiny_png(2))) == (403, "forbidden")
    await file_removal.run_once(engine)
    assert not [path for path in engine.blobs.temporary.parent.rglob("*") if path.is_file()]


async def test_a_job_has_a_bounded_number_of_photos(scenario: Scenario) -> None:
    """A job takes 200 photos in all, because each of its events has the whole list."""
    work = await Work.begin(scenario)
    await work.accept()
    engine, target = scenario.server.engine, f"job:{work.job}"
    file = (await upload(work.tom, target, tiny_png())).json()["file"]
    record = keys.job(DEFAULT_ZONE, JobId(work.job))
    for count, status in ((199, 422), (198, 201)):
        others = [
            {**file, "sha256": f"{number:064x}", "by": {"id": f"usr_{number}", "role": "technician"}}
            for number in range(count)
        ]
        await engine.store.command("HSET", record, "photos", msgspec.json.encode([file, *others]))
        assert (await upload(work.carla, target, tiny_png(count))).status_code == status
        assert (await upload(work.tom, target, tiny_png())).status_code == 200, "the same bytes again"


async def test_a_download_that_fails_is_no_whole_file(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> None:
    """If the store fails while a file is sent, the connection is aborted: no client takes a part for the whole."""
    work = await Work.begin(scenario)
    await work.accept()
    file = (await upload(work.tom, f"job:{work.job}", tiny_png())).json()["file"]["id"]
    blobs = scenario.server.engine.blobs

    async def fail(_: str) -> AsyncGenerator[bytes]:
        async def pieces() -> AsyncGenerator[bytes]:
            yield b"\x89PNG"
            raise Unavailable("the store is away")

        return pieces()

    with monkeypatch.context() as patch:
        patch.setattr(blobs, "stream", fail)
        with pytest.raises(httpx.TransportError):
            await work.tom.request("GET", f"/v1/files/{file}")
    assert scenario.server.engine.downloads.count == 0
    assert (await work.tom.request("GET", f"/v1/files/{file}")).content == tiny_png()
