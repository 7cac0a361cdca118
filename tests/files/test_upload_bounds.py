"""Uploads that are too large or too many at the same time are refused, and leave nothing behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from engine.errors import Unavailable
from engine.files import file_rows, uploads
from engine.rules.photos import MAX_BYTES
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
    """The fifth upload of a user at the same time is rate_limited, and the first one above the limit of the process is
    unavailable. Each upload gives its slot back.
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
    await wait_until(lambda: slots._callers[work.tom.id] == most)
    assert code_of(await upload(work.tom, target, tiny_png(99))) == (429, "rate_limited")
    monkeypatch.setattr(uploads, "MAX_UPLOADS", most)
    assert code_of(await upload(work.carla, target, tiny_png(98))) == (503, "unavailable")
    go.set()
    assert await asyncio.gather(*waiting) == [201] * most
    assert slots._callers.total() == 0
    assert (await upload(work.carla, target, tiny_png(98))).status_code == 201
