"""Jobs of the marketplace on their way, for tests of what happens to them there."""

from __future__ import annotations

import uuid
from typing import Any

from engine.events import Event
from server.serve import Running
from tests.server.http.client import Client
from tests.server.http.conftest import Book
from tests.support import event_log


async def asked(customer: Client, technician: Client, book: Book, **more: Any) -> dict[str, Any]:
    """A job for which the customer asked this technician."""
    return await book(customer, blueprint="marketplace", technician=technician.user, **more)


async def scheduled(customer: Client, technician: Client, book: Book, **more: Any) -> str:
    """The same, and he said yes."""
    job = str((await asked(customer, technician, book, **more))["id"])
    await must(technician, job, "accept")
    return job


async def under_way(customer: Client, technician: Client, book: Book, **more: Any) -> str:
    """The same, and the start code was given."""
    job = await scheduled(customer, technician, book, **more)
    await must(technician, job, "start", code=(await codes(customer, job))["start"])
    return job


async def finished(customer: Client, technician: Client, book: Book, **more: Any) -> str:
    """The same, and the completion code too: it waits for the customer."""
    job = await under_way(customer, technician, book, **more)
    await must(technician, job, "complete", code=(await codes(customer, job))["completion"])
    return job


async def step(who: Client, job: str, command: str, *, key: str | None = None, **body: Any) -> Any:
    """One step; each with a fresh key unless one is given."""
    return await who("POST", f"/v1/jobs/{job}/{command}", body, Idempotency_Key=key or str(uuid.uuid4()))


async def must(who: Client, job: str, command: str, **body: Any) -> dict[str, Any]:
    """A step that is taken; gives the job."""
    answer = await step(who, job, command, **body)
    assert answer.is_success, answer.text
    told: dict[str, Any] = answer.json()["job"]
    return told


async def read(who: Client, job: str) -> dict[str, Any]:
    """The job as this person is shown it."""
    told: dict[str, Any] = (await who("GET", f"/v1/jobs/{job}")).json()["job"]
    return told


async def codes(customer: Client, job: str) -> dict[str, str]:
    """The codes that the customer is shown."""
    told: dict[str, str] = (await read(customer, job))["codes"]
    return told


def other(code: str) -> str:
    """Six digits that are not these."""
    return f"{(int(code) + 1) % 1_000_000:06d}"


async def told(site: Running, kind: str, job: str) -> list[Event]:
    """The events of one type about a job."""
    return await event_log.events(site.engine, kind, job)
