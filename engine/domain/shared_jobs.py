"""Read the part of a job that its link shows: the phase and, while the technician travels, their position.

No id, name, address or destination is shown. A position is one that the job's customer may see at the same moment. It
is shown only until the technician has arrived, because from then on it is the customer's address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.clock import now_ms
from engine.domain import positions, share_tokens
from engine.domain.positions import JobPosition
from engine.domain.share_tokens import ShareTarget
from engine.errors import NotFound, Unauthenticated, Unavailable
from engine.events import rfc3339_of
from engine.identity import access
from engine.store import keys
from engine.types import OPS, Principal, UserId

if TYPE_CHECKING:
    from engine.runtime import Engine


class SharedPosition(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The technician's position: degrees (WGS 84), the age in seconds, the heading in degrees from north and the
    accuracy in metres. ``jump`` is true if nobody can have moved there so fast.
    """

    lat: float
    lon: float
    at: str
    age_s: float
    stale: bool
    heading: float | None = None
    accuracy: float | None = None
    jump: bool = False


class SharedJob(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A job as a link shows it: its phase, the sentence of its state, and when the technician is expected."""

    phase: str
    says: str
    position: SharedPosition | None = None
    eta_s: int | None = None
    as_of: str


async def read_shared_job(engine: Engine, token: str) -> SharedJob:
    """Return the job of a link. Raises NotFound if the token is invalid, or if its link is not open: it was ended, it
    has expired, its job is over, or the user who created it may no longer see the job. Raises Unavailable.
    """
    target = share_tokens.read_token(engine.signer, engine.store.zones, token)
    if target is None:
        raise NotFound("No such link")
    names = {"meta": keys.zone_meta(target.zone), "job": keys.job(target.zone, target.job)}
    done = await engine.store.read(target.zone, "share_read", keys=names, args={"ending": target.ending})
    maker, status, phase, blueprint_key, customer, is_there = (value.decode() for value in done.values)
    await _check_maker(engine, maker)
    blueprint = engine.blueprints.find_exact(blueprint_key)
    if blueprint is None:
        raise Unavailable("The job's blueprint is not known here")
    position = None
    if blueprint.is_on_the_way(status) and is_there == "0":
        position = await _position_for_customer(engine, target, customer)
    return SharedJob(
        phase=phase,
        says=blueprint.states[status].text,
        position=_shared_position(position) if position else None,
        eta_s=position.eta_s if position else None,
        as_of=rfc3339_of(now_ms()),
    )


async def _check_maker(engine: Engine, maker: str) -> None:
    """Raise NotFound unless the creator of the link (``role:id``) may still see the job: a link of a customer or an
    employee ends with their account. Principals of `callout token` have no account.
    """
    role, _, user = maker.partition(":")
    try:
        found = await access.read_access(engine, UserId(user))
    except Unauthenticated:
        if user == f"cli_{role}":
            return
        raise NotFound("No such link") from None
    has_role = found.role == role or (found.role in OPS and role in OPS)
    if not (found.active and has_role):
        raise NotFound("No such link")


async def _position_for_customer(engine: Engine, target: ShareTarget, customer: str) -> JobPosition | None:
    return await positions.read_position(engine, Principal(UserId(customer), "customer"), target.job)


def _shared_position(position: JobPosition) -> SharedPosition:
    return SharedPosition(**{name: getattr(position, name) for name in SharedPosition.__struct_fields__})
