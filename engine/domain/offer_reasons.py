"""Explain to a technician why they get offers or not: what prevents offers now, what the waves of a job decided about
them, and the outcomes of their last offers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from engine.archive import offer_reader
from engine.clock import now_ms
from engine.errors import Forbidden, NotFound
from engine.events import rfc3339_of
from engine.idempotency.in_redis import parse_job_id
from engine.rules import choice_reasons
from engine.store import keys
from engine.technicians import live
from engine.types import Principal, TechnicianId, UserId

if TYPE_CHECKING:
    from engine.runtime import Engine

COUNTED_MS = 7 * 86_400_000
"""The time over which the outcomes of offers are counted."""


async def explain_offers(engine: Engine, caller: Principal, technician: str, job_id: str | None) -> dict[str, Any]:
    """Return what prevents offers to a technician now, the outcomes of their offers of the last week, and, with
    ``job_id``, what the waves of that job decided about them.

    For the technician and ops. Raises NotFound for another technician, and for a job that was never offered to them and
    whose waves did not consider them; Forbidden for other roles.
    """
    _check_reader(caller, technician)
    tech = TechnicianId(UserId(technician))
    zone = await live.read_zone(engine, technician)
    names = {"meta": keys.zone_meta(zone), "tech": keys.technician(zone, tech)}
    online, *blockers = (await engine.store.read(zone, "blocker_list", keys=names)).values
    since = now_ms() - COUNTED_MS
    outcomes = await offer_reader.count_outcomes(engine.archive, tech, since)
    why: dict[str, Any] = {
        "online": online == b"1",
        "receiving": not blockers,
        "blockers": [blocker.decode() for blocker in blockers],
        "offers": {"since": rfc3339_of(since), "count": sum(outcomes.values()), "outcomes": outcomes},
    }
    if job_id is not None:
        why["job"] = await _explain_job(engine, caller, tech, job_id)
    return why


def _check_reader(caller: Principal, technician: str) -> None:
    if not caller.is_ops:
        if caller.role != "technician":
            raise Forbidden("Only technicians and ops may see why a technician gets no offers")
        if caller.id != technician:
            raise NotFound("No such technician")


async def _explain_job(engine: Engine, caller: Principal, technician: TechnicianId, job_id: str) -> dict[str, Any]:
    """Return whether the waves of a job asked a technician, and why not. Redis has the records of waves until the job
    is over and archived; SQL has the archived ones.
    """
    zone, job = parse_job_id(job_id)
    names = {
        "meta": keys.zone_meta(zone),
        "job": keys.job(zone, job),
        "offers": keys.job_offers(zone, job),
        "waves": keys.job_waves(zone, job),
    }
    done = await engine.store.read(zone, "choice_read", keys=names, args={"technician": technician})
    offer, hidden, *newest = done.values
    records = [*await offer_reader.read_waves(engine.archive, job), *reversed(newest)]
    status = offer.decode() or await offer_reader.read_status(engine.archive, job, technician)
    decision = choice_reasons.find_decision(records, technician)
    if (decision is None and not status) or (hidden == b"1" and not caller.is_ops):
        raise NotFound("No such job")
    asked = bool(status) or (decision is not None and not decision.reason)
    found: dict[str, Any] = {"id": job, "asked": asked}
    if decision is not None:
        found |= {"wave": decision.wave, "at": decision.at}
    if status:
        found["offer"] = status
    if not asked and decision is not None:
        found["reason"] = choice_reasons.shown_reason(decision.reason, to_ops=caller.is_ops)
    return found
