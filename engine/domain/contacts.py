"""Phones in replies: the other party's, from acceptance until the blueprint's ``contact_s`` after the job's end.

They stand in no event, since events are replayed for as long as they are kept, also to somebody who has left the job
since. A reply asks for them anew, by what its caller is to the job now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
import structlog
from sqlalchemy import select

from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.errors import CalloutError
from engine.events import ms_of
from engine.sql.schema import users
from engine.store import keys
from engine.types import JobId, Phase, Principal, TechnicianId, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

Side = Literal["customer", "technician"]
"""Whose phone it is: the member of the job that it stands in."""

log = structlog.get_logger(__name__)


class Party(msgspec.Struct):
    id: str


class Card(msgspec.Struct):
    """What of a job's JSON decides what may stand with it."""

    id: JobId
    zone: Zone
    blueprint: str
    status: str
    phase: Phase
    customer: Party | None = None
    technician: Party | None = None
    at: dict[str, str] = {}
    asked: bool = False


def side_wanted(caller: Principal, card: Card, blueprint: Blueprint) -> Side | None:
    """Whose phone the caller may read with this job; None where it is nobody's."""
    if card.customer is None or card.technician is None or card.asked or card.phase == "open":
        return None
    if card.phase in ("done", "closed") and _is_past(card, blueprint):
        return None
    if caller.role == "customer" and caller.id == card.customer.id:
        return "technician"
    return "customer" if caller.role == "technician" and caller.id == card.technician.id else None


def _is_past(card: Card, blueprint: Blueprint) -> bool:
    ended = card.at.get(card.status)
    return ended is None or now_ms() >= ms_of(ended) + blueprint.contact_s * 1000


async def phone_of(engine: Engine, card: Card, side: Side, known: str = "") -> str | None:
    """The phone of one side, from Redis where it is there (``known`` is JSON), else from the account; None where there
    is none, or it cannot be read now: a job is not refused for want of a phone.
    """
    party = card.customer if side == "customer" else card.technician
    assert party is not None
    if side == "technician":
        name = keys.technician(card.zone, TechnicianId(UserId(party.id)))
        known = (await engine.store.command("HGET", name, "phone") or b"").decode()
    if known:
        return msgspec.json.decode(known, type=str | None)
    try:
        async with engine.archive.reading() as conn:
            return (await conn.execute(select(users.c.phone).where(users.c.id == party.id))).scalar()
    except CalloutError as error:
        log.warning("phone_not_read", job=card.id, error=str(error))
        return None


def with_phone(job: bytes, side: Side, phone: str | None) -> bytes:
    """The job with the phone in the member of whose it is."""
    members: dict[str, Any] = msgspec.json.decode(job, type=dict[str, msgspec.Raw])
    party: dict[str, Any] = msgspec.json.decode(members[side])
    return msgspec.json.encode({**members, side: {**party, "phone": phone}})
