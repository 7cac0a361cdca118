"""Downloads and verifications of large receipts: their memory, and their limits for each caller."""

from __future__ import annotations

import asyncio
import os
import random
import socket
import threading
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from io import BytesIO

import pytest

from engine.files import transfer_slots
from engine.files.transfer_slots import MAX_DOWNLOADS_OF_CALLER
from server.http import paced_body
from server.serve import RunningServer
from tests.server.http.client import Client, code_of
from tests.server.http.conftest import Join
from tests.server.http.test_vault import finish_job, sign, wait_for_receipt, worker
from tests.support.signatures import chunk, make_png, signature_of
from tests.support.wait import wait_until as wait_for_condition

__all__ = ["worker"]

wait_until = partial(wait_for_condition, within_s=30.0)
PHOTOS, PHOTO_BYTES, UNREAD, VERIFIED = 2, 5 * 2**20, 40, 16
MIB = 2**20


def large_png(number: int) -> bytes:
    """Return a PNG of 5 MiB. Its pixels cannot be decoded, and no test decodes them."""
    small = make_png()
    return small[:33] + chunk(b"IDAT", random.Random(number).randbytes(PHOTO_BYTES)) + chunk(b"IEND", b"")


def resident_bytes() -> int:
    """Return the resident memory of this process, in which the server runs."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Growth:
    """The most by which the memory of this process grew, in bytes."""

    def __init__(self) -> None:
        self.before = self.most = resident_bytes()

    @property
    def bytes(self) -> int:
        """Return the growth so far."""
        return self.most - self.before


@contextmanager
def watch_memory() -> Iterator[Growth]:
    """Sample the memory every few milliseconds, in a thread."""
    growth, ended = Growth(), threading.Event()

    def sample() -> None:
        while not ended.wait(0.004):
            growth.most = max(growth.most, resident_bytes())

    thread = threading.Thread(target=sample)
    thread.start()
    try:
        yield growth
    finally:
        ended.set()
        thread.join()


def ask(site: RunningServer, caller: Client, path: str) -> socket.socket:
    """Send a request, and read nothing of its response."""
    url = caller.http.base_url
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect((url.host, url.port))
    lines = f"GET {path} HTTP/1.1\r\nHost: {url.host}\r\nAuthorization: Bearer {caller.token}\r\n\r\n"
    connection.sendall(lines.encode())
    return connection


async def test_unread_downloads_and_verifications_hold_little_memory(
    site: RunningServer,
    customer: Client,
    worker: Client,
    join: Join,
    nobody: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """40 downloads of a receipt with photos of 5 MiB that nobody reads hold one chunk each in memory, not a photo. 16
    verifications hold little too. A request above the caller's limit is refused as `rate_limited`. A client that stalls
    is disconnected, and each download releases its slot when it ends.
    """
    job, slots = await finish_job(customer, worker), site.engine.downloads
    headers = {"Authorization": f"Bearer {worker.token}"}
    for number in range(PHOTOS):
        added = await worker.http.post(f"/v1/jobs/{job}/photos", content=large_png(number), headers=headers)
        assert added.status_code == 201, added.text
    shown = (await customer("GET", f"/v1/jobs/{job}/record")).json()
    receipt = (await sign(customer, job, signature_of(shown))).json()["receipt"]["id"]
    await wait_for_receipt(site, customer, receipt)
    path = f"/v1/vault/{receipt}?format=zip"
    whole = await customer("GET", path)
    with zipfile.ZipFile(BytesIO(whole.content)) as found:
        assert found.testzip() is None and len(found.namelist()) == 3 + 2 + PHOTOS
        assert sum(info.file_size for info in found.infolist()) > PHOTOS * PHOTO_BYTES
    assert (await customer("HEAD", path)).content == b"" and slots.count == 0
    del whole, found

    with watch_memory() as growth:
        unread = [ask(site, (customer, worker)[place % 2], path) for place in range(UNREAD)]
        await wait_until(lambda: slots.count == UNREAD, what="all downloads")
        await asyncio.sleep(0.5)  # each download sends as much as the unread socket accepts
    assert growth.bytes < 40 * MIB, f"{growth.bytes / MIB:.0f} MiB"
    more = [ask(site, customer, path) for _ in range(MAX_DOWNLOADS_OF_CALLER - slots.count_of(customer.user))]
    await wait_until(lambda: slots.count_of(customer.user) == MAX_DOWNLOADS_OF_CALLER)
    assert code_of(await customer("GET", path)) == (429, "rate_limited")
    photo = (await worker("GET", f"/v1/jobs/{job}/photos")).json()["items"][-1]["id"]
    assert code_of(await customer("GET", f"/v1/files/{photo}")) == (429, "rate_limited")
    assert (await worker("GET", f"/v1/files/{photo}")).status_code == 200
    await wait_until(lambda: slots.count == len(unread) + len(more))
    with monkeypatch.context() as patch:
        patch.setattr(slots, "most", slots.count)
        patch.setattr(transfer_slots, "STALLED_S", 600.0)  # on a busy machine the first ones are old by now
        assert code_of(await worker("GET", path)) == (503, "unavailable")
        patch.setattr(transfer_slots, "STALLED_S", 0.0)
        assert (await worker("GET", path)).status_code == 200, "instead of one that nobody reads"
    for connection in (*unread, *more):
        connection.close()
    await wait_until(lambda: slots.count == 0, what="the end of all downloads")

    monkeypatch.setattr(paced_body, "STALL_S", 2.0)  # longer than both take to begin on a busy machine
    stalled = [ask(site, worker, each) for each in (path, f"/v1/files/{photo}")]
    await wait_until(lambda: slots.count == len(stalled), what="both downloads")
    await wait_until(lambda: slots.count == 0, what="the end of both downloads")
    for connection in stalled:
        connection.close()

    question = f"/v1/vault/{receipt}/verify?sha256={shown['sha256']}"
    with watch_memory() as growth:
        answers = await asyncio.gather(*(nobody("GET", question) for _ in range(VERIFIED)))
    assert all(answer.json()["verified"] for answer in answers)
    assert growth.bytes < 16 * MIB, f"{growth.bytes / MIB:.0f} MiB"
