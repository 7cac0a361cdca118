"""Helpers that book a marketplace job and bring it to a given state, for the tests of that state."""

from __future__ import annotations

import uuid
from typing import Any

from engine.events import Event
from server.serve import RunningServer
from tests.server.http.client import Client
from tests.server.http.conftest import Book
from tests.support import event_log
from tests.support.photos import tiny_png
from tests.support.signatures import signature_of


async def book_for_technician(customer: Client, technician: Client, book: Book, **more: Any) -> dict[str, Any]:
    """Book a marketplace job that names ``technician``, and return the job in the state `requested`."""
    return await book(customer, blueprint="marketplace", technician=technician.user, **more)


async def book_and_accept(customer: Client, technician: Client, book: Book, **more: Any) -> str:
    """Book a job for ``technician``, let them accept it, and return the job's id. The job is then `scheduled`."""
    job = str((await book_for_technician(customer, technician, book, **more))["id"])
    await run_command(technician, job, "accept")
    return job


async def book_and_start(customer: Client, technician: Client, book: Book, **more: Any) -> str:
    """Book a job, let ``technician`` accept it and start it with the start code, and return the job's id."""
    job = await book_and_accept(customer, technician, book, **more)
    await run_command(technician, job, "start", code=(await read_codes(customer, job))["start"])
    return job


async def book_and_complete(customer: Client, technician: Client, book: Book, **more: Any) -> str:
    """Book a job, let ``technician`` start and complete it with both codes, and return the job's id. The job then waits
    for the customer's `confirm`.
    """
    job = await book_and_start(customer, technician, book, **more)
    await run_command(technician, job, "complete", code=(await read_codes(customer, job))["completion"])
    return job


async def send_command(caller: Client, job: str, command: str, *, key: str | None = None, **body: Any) -> Any:
    """Send a command on a job and return the response. Without ``key`` a new idempotency key is used."""
    return await caller("POST", f"/v1/jobs/{job}/{command}", body, Idempotency_Key=key or str(uuid.uuid4()))


async def run_command(caller: Client, job: str, command: str, **body: Any) -> dict[str, Any]:
    """Send a command on a job, assert that it succeeds, and return the job from the reply."""
    answer = await send_command(caller, job, command, **body)
    assert answer.is_success, answer.text
    changed: dict[str, Any] = answer.json()["job"]
    return changed


async def add_photos(technician: Client, job: str) -> None:
    """Add the photos that a managed job needs before it is finished."""
    for number in range(2):
        assert (await technician("POST", f"/v1/jobs/{job}/photos", tiny_png(number))).status_code == 201


async def sign_job(customer: Client, job: str) -> dict[str, Any]:
    """Sign the record of a job as its customer, and return the job from the reply."""
    shown = (await customer("GET", f"/v1/jobs/{job}/record")).json()
    return await run_command(customer, job, "sign", **signature_of(shown))


async def read_job(caller: Client, job: str) -> dict[str, Any]:
    """Return the job as the API shows it to the user of ``caller``."""
    job_view: dict[str, Any] = (await caller("GET", f"/v1/jobs/{job}")).json()["job"]
    return job_view


async def read_codes(customer: Client, job: str) -> dict[str, str]:
    """Return the job's codes, `start` and `completion`, as the API shows them to the customer."""
    codes: dict[str, str] = (await read_job(customer, job))["codes"]
    return codes


def wrong_code(code: str) -> str:
    """Return a code of six digits that differs from ``code``."""
    return f"{(int(code) + 1) % 1_000_000:06d}"


async def job_events(site: RunningServer, event_type: str, job: str) -> list[Event]:
    """Return the log's events of one type about a job."""
    return await event_log.events(site.engine, event_type, job)
