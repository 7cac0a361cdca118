"""Announcements: events that ops send to all users of some roles. Announcements are appended to the log like every
event, so that each gateway relays them, and a disconnected user receives them when the user resumes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from engine.blueprint.audience import role_of
from engine.errors import FieldError, Invalid
from engine.idempotency import in_redis
from engine.idempotency.in_sql import Result
from engine.roles import MANAGERS, OPS, require_role
from engine.store import keys
from engine.types import DEFAULT_ZONE, Principal, Zone

if TYPE_CHECKING:
    from engine.blueprint.schema import Blueprint
    from engine.runtime import Engine

UNDECLARED_EVENT_PREFIX = "announcement."
"""The prefix of event types that need no declaration in a blueprint."""
ROLES_OF_ALIAS = {
    "ops": frozenset(("ops", *MANAGERS - {"onboarding_manager"})),
    "managers": frozenset(("managers", "ops", *MANAGERS)),
}
"""The roles of each alias: if a blueprint declares an announcement for an alias, the caller may also name these roles
one by one.
"""


class Announcement(msgspec.Struct, frozen=True, kw_only=True):
    """An announcement that was appended: the type of the event, the roles that receive the event, and the event's zone
    and seq in the log.
    """

    event: str
    roles: list[str]
    data: dict[str, Any]
    zone: Zone = DEFAULT_ZONE
    seq: int = 0


async def announce(
    engine: Engine, caller: Principal, announcement: Announcement, *, key: str | None = None, trace: str = ""
) -> Result[Announcement]:
    """Append an announcement to all users of ``announcement.roles``, once for each request key. Without roles, the
    announcement is sent to the roles that the blueprint declares. ``announcement.event`` is the event's type in the
    log.

    Raises Forbidden, ReusedKey, Invalid for an event that no blueprint declares as an announcement and for roles that
    are not in the declaration, and the errors of ``Store.run``.
    """
    require_role(caller, OPS)
    declared = engine.blueprints.find_announcing(announcement.event)
    if declared is None and not announcement.event.startswith(UNDECLARED_EVENT_PREFIX):
        raise Invalid(
            errors=[
                FieldError("/event", f"Declared by no blueprint, and does not begin with {UNDECLARED_EVENT_PREFIX}")
            ]
        )
    checked, zone = in_redis.validate_key(key), DEFAULT_ZONE
    roles = _recipient_roles(announcement, declared)
    channels = " ".join(f"role:{role}" for role in roles)
    fingerprint = in_redis.fingerprint_of(engine, "announce", "", [announcement.event, roles, announcement.data])
    actor, bp = f"{caller.role}:{caller.id}", declared.key if declared else ""
    done = await engine.store.run(
        zone,
        "event_append",
        keys={
            "meta": keys.zone_meta(zone),
            "log": keys.log(zone),
            "req": keys.idempotency_record(zone, caller.id, checked),
        },
        args={
            "actor": actor,
            "key": checked,
            "fingerprint": fingerprint,
            "trace": trace,
            "bp": bp,
            "kind": announcement.event,
            "channels": channels,
            "data": msgspec.json.encode(announcement.data),
        },
    )
    announcement = msgspec.structs.replace(announcement, roles=roles, zone=zone, seq=done.seq)
    return Result(announcement, checked, done.repeated)


def _recipient_roles(announcement: Announcement, declared: Blueprint | None) -> list[str]:
    """Return the requested roles, each once. If the blueprint declares roles, no other roles are allowed."""
    words = declared.events[announcement.event].to if declared else ()
    declared_roles = [role_of(word) for word in words]
    roles = list(dict.fromkeys(announcement.roles or declared_roles))
    if not roles:
        raise Invalid(errors=[FieldError("/roles", "Required")])
    allowed = {role for word in declared_roles for role in ROLES_OF_ALIAS.get(word, {word})}
    if declared_roles and (wrong := [at for at, role in enumerate(roles) if role not in allowed]):
        detail = f"{announcement.event} is for {', '.join(declared_roles)}"
        raise Invalid(errors=[FieldError(f"/roles/{at}", detail) for at in wrong])
    return roles
