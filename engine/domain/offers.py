"""List the open offers of a technician, and decline an offer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.domain import jobs
from engine.domain.commands import CommandInput
from engine.domain.job_queries import Page
from engine.errors import Forbidden
from engine.idempotency.in_redis import Outcome
from engine.store import keys
from engine.store.scripts import Args
from engine.technicians.live import find_own_zone, presence_lease_ms
from engine.types import Principal, TechnicianId

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_OFFERS = 200


async def decline_offer(
    engine: Engine,
    caller: Principal,
    job_id: str,
    *,
    reason: str | None = None,
    key: str | None = None,
    trace: str = "",
) -> Outcome:
    """Decline an offer; the job remains open to other technicians. Raises the same errors as a claim."""
    step = CommandInput(command="decline", reason=reason)
    return await jobs.run_command(engine, caller, job_id, step, key=key, trace=trace)


async def find_open_offers(engine: Engine, caller: Principal) -> Page:
    """Return the offers that the caller may accept now, the earliest expiry first. They are all of the caller's zone.

    Raises Forbidden, and Unavailable if the zone is closed.
    """
    if caller.role != "technician":
        raise Forbidden("Only technicians are offered jobs")
    zone = await find_own_zone(engine, caller.id)
    names = {"meta": keys.zone_meta(zone), "tech_offers": keys.technician_offers(zone, TechnicianId(caller.id))}
    args: Args = {"technician": caller.id, "limit": MAX_OFFERS, "lease_ms": presence_lease_ms(engine)}
    done = await engine.store.read(zone, "offer_list", keys=names, args=args)
    return Page(done.values, None, {zone: {"epoch": engine.store.zones[zone].epoch, "seq": done.seq}})
