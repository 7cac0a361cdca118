"""Phone numbers in replies: each party of a job receives the other's number, from the acceptance of the job until the
blueprint's ``contact_s`` seconds after the job's end.

Events contain no phone numbers, since an event can be replayed as long as it is in the log, also to a user who has left
the job. Each reply reads the number again, if the caller's present relation to the job allows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import msgspec
import structlog
from sqlalchemy import select

from engine.archive import reader
from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.errors import CalloutError
from engine.events import ms_of
from engine.rules import job_document
from engine.rules.job_document import JobView
from engine.sql.schema import users
from engine.store import keys
from engine.types import JobId, Principal, TechnicianId

if TYPE_CHECKING:
    from engine.runtime import Engine

PhoneOwner = Literal["customer", "technician"]
"""The party who has the phone. The job's member with this name contains the phone."""

log = structlog.get_logger(__name__)


def phone_owner(caller: Principal, job: JobView, blueprint: Blueprint) -> PhoneOwner | None:
    """Return the party whose phone the caller may read with this job; None if there is none."""
    if job.customer is None or job.technician is None or job.asked or job.phase == "open":
        return None
    if job.phase in ("done", "closed") and _has_contact_period_ended(job, blueprint):
        return None
    if caller.role == "customer" and caller.id == job.customer.id:
        return "technician"
    return "customer" if caller.role == "technician" and caller.id == job.technician.id else None


def _has_contact_period_ended(job: JobView, blueprint: Blueprint) -> bool:
    ended = job.at.get(job.status)
    return ended is None or now_ms() >= ms_of(ended) + blueprint.contact_s * 1000


async def read_phone(engine: Engine, job: JobView, side: PhoneOwner, stored_phone: str = "") -> str | None:
    """Return the phone of one side: the phone in Redis if Redis has one (``stored_phone``, as JSON), otherwise the
    phone in the account. None if there is no phone or the account cannot be read now, since a missing phone must not
    fail the reply with the job."""
    party = job.customer if side == "customer" else job.technician
    assert party is not None
    if side == "technician":
        name = keys.technician(job.zone, TechnicianId(party.id))
        stored_phone = (await engine.store.command("HGET", name, "phone") or b"").decode()
    if stored_phone:
        return msgspec.json.decode(stored_phone, type=str | None)
    try:
        async with engine.archive.begin_read() as conn:
            return (await conn.execute(select(users.c.phone).where(users.c.id == party.id))).scalar()
    except CalloutError as error:
        log.warning("phone_not_read", job=job.id, error=str(error))
        return None


async def add_phone_of_archived_job(engine: Engine, caller: Principal, view: JobView, job: bytes) -> bytes:
    """Return a job that Redis does not have any more with the phone added. The job's events contain the version of its
    blueprint.
    """
    try:
        key = await reader.blueprint_key_of(engine.archive, view.id)
    except CalloutError as error:  # a reply without a phone is better than no reply (as in read_phone)
        log.warning("phone_not_read", job=view.id, error=str(error))
        return job
    blueprint = engine.blueprints.find_exact(key) if key else None
    side = phone_owner(caller, view, blueprint) if blueprint else None
    return await read_and_add_phone(engine, view, side, job)


async def add_phone_to_repeat(
    engine: Engine, caller: Principal, blueprint: Blueprint, view: JobView, job: bytes
) -> bytes:
    """Return the job of a repeated reply with the phone that the first reply had. Redis does not have the job any more,
    so that SQL says whether the parties of the reply are still those of the job.
    """
    try:
        document = await reader.job(engine.archive, JobId(view.id))
    except CalloutError as error:
        log.warning("phone_not_read", job=view.id, error=str(error))
        return job
    now = job_document.decode_job(document) if document else None
    if now is None or (now.customer_id, now.holder_id) != (view.customer_id, view.holder_id):
        return job
    side = phone_owner(caller, view, blueprint) and phone_owner(caller, now, blueprint)
    return await read_and_add_phone(engine, view, side, job)


async def read_and_add_phone(
    engine: Engine, view: JobView, side: PhoneOwner | None, job: bytes, stored_phone: str = ""
) -> bytes:
    """Return the job with the phone of one side added; without a side, the job as it is."""
    if side is None:
        return job
    phone = await read_phone(engine, view, side, stored_phone if side == "customer" else "")
    return add_phone(job, side, phone)


def add_phone(job: bytes, side: PhoneOwner, phone: str | None) -> bytes:
    """Return the job (JSON) with the phone added to the member of the party who has the phone.

    The text is spliced: to decode and encode the whole job took a tenth of a claim's time in the gateway. Only
    ``metadata`` may contain an object with such a name, and it follows the customer and precedes the technician
    (``job_document.MEMBERS``). In a text the quotes would be escaped.
    """
    opening = b'"%b":{' % side.encode()
    at = (job.index(opening) if side == "customer" else job.rindex(opening)) + len(opening)
    return b'%b"phone":%b,%b' % (job[:at], msgspec.json.encode(phone), job[at:])
