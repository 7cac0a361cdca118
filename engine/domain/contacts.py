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

from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.errors import CalloutError
from engine.events import ms_of
from engine.rules.job_document import JobView
from engine.sql.schema import users
from engine.store import keys
from engine.types import Principal, TechnicianId

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


def add_phone(job: bytes, side: PhoneOwner, phone: str | None) -> bytes:
    """Return the job (JSON) with the phone added to the member of the party who has the phone.

    The text is spliced: to decode and encode the whole job took a tenth of a claim's time in the gateway. Only
    ``metadata`` may contain an object with such a name, and it follows the customer and precedes the technician
    (``job_document.MEMBERS``). In a text the quotes would be escaped.
    """
    opening = b'"%b":{' % side.encode()
    at = (job.index(opening) if side == "customer" else job.rindex(opening)) + len(opening)
    return b'%b"phone":%b,%b' % (job[:at], msgspec.json.encode(phone), job[at:])
