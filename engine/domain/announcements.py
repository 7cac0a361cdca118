"""Announcements: what ops tell everybody of some roles. They go through the log like every event, so that each gateway
hears of them, and who was away gets them when he comes back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from engine.blueprint.audience import role_of
from engine.errors import FieldError, Invalid
from engine.idempotency import in_redis
from engine.idempotency.in_sql import Result
from engine.roles import MANAGERS, OPS, demand
from engine.store import keys
from engine.types import DEFAULT_ZONE, Principal, Zone

if TYPE_CHECKING:
    from engine.blueprint.schema import Blueprint
    from engine.runtime import Engine

FREE = "announcement."
"""Events that begin so need no declaration."""
INCLUDES = {
    "ops": frozenset(("ops", *MANAGERS - {"onboarding_manager"})),
    "managers": frozenset(("managers", "ops", *MANAGERS)),
}


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """What was announced to which roles, and where it stands in the log."""

    event: str
    roles: list[str]
    data: dict[str, Any]
    zone: Zone = DEFAULT_ZONE
    seq: int = 0


async def announce(
    engine: Engine, caller: Principal, new: Announcement, *, key: str | None = None, trace: str = ""
) -> Result[Announcement]:
    """Tell everybody of ``new.roles`` (none given: of those that the blueprint declares), once for each request key.
    ``event`` is the type in the log.

    Raises Forbidden, Invalid for an event that no blueprint declares as an announcement and for roles that the
    declaration leaves out, ReusedKey, and what ``Store.run`` raises.
    """
    demand(caller, OPS)
    declared = engine.blueprints.announcing(new.event)
    if declared is None and not new.event.startswith(FREE):
        raise Invalid(errors=[FieldError("/event", f"Declared by no blueprint, and does not begin with {FREE}")])
    checked, zone = in_redis.checked_key(key), DEFAULT_ZONE
    roles = _roles(new, declared)
    told = " ".join(f"role:{role}" for role in roles)
    fingerprint = in_redis.fingerprint(engine, "announce", "", [new.event, roles, new.data])
    actor, bp = f"{caller.role}:{caller.id}", declared.key if declared else ""
    done = await engine.store.run(
        zone,
        "event_append",
        keys={"meta": keys.meta(zone), "log": keys.log(zone), "req": keys.request(zone, caller.id, checked)},
        args={
            "actor": actor,
            "key": checked,
            "fingerprint": fingerprint,
            "trace": trace,
            "bp": bp,
            "kind": new.event,
            "channels": told,
            "data": msgspec.json.encode(new.data),
        },
    )
    made = msgspec.structs.replace(new, roles=roles, zone=zone, seq=done.seq)
    return Result(made, checked, done.repeated)


def _roles(new: Announcement, declared: Blueprint | None) -> list[str]:
    """The roles asked for, each once; where the blueprint says who gets it, nobody else does."""
    words = declared.events[new.event].to if declared else ()
    own = [role_of(word) for word in words]
    roles = list(dict.fromkeys(new.roles or own))
    if not roles:
        raise Invalid(errors=[FieldError("/roles", "Required")])
    may = {role for word in own for role in INCLUDES.get(word, {word})}
    if own and (wrong := [at for at, role in enumerate(roles) if role not in may]):
        detail = f"{new.event} is for {', '.join(own)}"
        raise Invalid(errors=[FieldError(f"/roles/{at}", detail) for at in wrong])
    return roles
