"""Staff in chat rooms: ops bring them in and let them go. The two sides of a job become members when the job is booked
or changes its state (lua/lib/room_step.lua).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.domain.rooms import actor_of, parse_room_id, room_keys
from engine.errors import FieldError, Forbidden, Invalid, NotFound
from engine.idempotency import in_redis
from engine.identity import accounts
from engine.roles import MANAGERS, MEDIATOR_ROLE
from engine.store import keys
from engine.store.scripts import Args
from engine.types import Principal, RoomId, UserId, Zone, is_id

if TYPE_CHECKING:
    from engine.runtime import Engine

STAFF_ROLES = MANAGERS | MEDIATOR_ROLE
"""The roles of users whom ops may make members."""


class RoomOutcome(msgspec.Struct, frozen=True):
    """The outcome of a command about a room's members. ``room`` is JSON; None after a removal."""

    room: msgspec.Raw | None
    seq: int
    repeated: bool
    key: str


async def add_member(
    engine: Engine, caller: Principal, room_id: str, user: str, *, key: str | None = None, trace: str = ""
) -> RoomOutcome:
    """Make a member of the staff a member of a room. They read all its messages.

    Raises Forbidden if the caller is not ops, Invalid at ``/user`` for a user who is no active staff, NotFound,
    RoomClosed, ReusedKey.
    """
    if not caller.is_ops:
        raise Forbidden("Only ops bring staff into a room")
    zone, room = parse_room_id(room_id)
    person = await _staff_account(engine, caller, user)
    key = in_redis.validate_key(key)
    names, request = _member_request(engine, caller, zone, room, "add", person.id, key, trace)
    args: Args = {**request, "name": msgspec.json.encode(person.name), "role": person.role}
    done = await engine.store.run(zone, "room_member_add", keys=names, args=args)
    return RoomOutcome(msgspec.Raw(done.values[1]), done.seq, done.repeated, key)


async def remove_member(
    engine: Engine, caller: Principal, room_id: str, user: str, *, key: str | None = None, trace: str = ""
) -> RoomOutcome:
    """End the membership of a user whom ops brought in. From then on they receive, read and say nothing.

    Raises Forbidden if the caller is not ops, NotFound for a user who is no member, Invalid at ``/user`` for a side of
    the job, ReusedKey.
    """
    if not caller.is_ops:
        raise Forbidden("Only ops let staff go from a room")
    zone, room = parse_room_id(room_id)
    key = in_redis.validate_key(key)
    if not is_id(user):
        raise NotFound("No such member")
    names, request = _member_request(engine, caller, zone, room, "remove", user, key, trace)
    try:
        done = await engine.store.run(zone, "room_member_remove", keys=names, args=request)
    except Invalid as error:
        detail = "A side of the job stays a member"
        raise Invalid(errors=[FieldError("/user", detail)], repeated=error.repeated) from error
    return RoomOutcome(None, done.seq, done.repeated, key)


def _member_request(
    engine: Engine, caller: Principal, zone: Zone, room: RoomId, verb: str, user: str, key: str, trace: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Return the keys and the common arguments of the scripts that change the members of a room."""
    fingerprint = in_redis.fingerprint_of(engine, f"member_{verb}", room, user)
    names = {**room_keys(zone, room), "log": keys.log(zone), "req": keys.idempotency_record(zone, caller.id, key)}
    request = {"user": user, "actor": actor_of(caller), "key": key, "fingerprint": fingerprint, "trace": trace}
    return names, request


async def _staff_account(engine: Engine, caller: Principal, user: str) -> accounts.User:
    try:
        person = (
            await accounts.read_own_user(engine, caller)
            if user == caller.id
            else await accounts.read_user(engine, UserId(user))
        )
    except NotFound:
        raise Invalid(errors=[FieldError("/user", "No such user")]) from None
    if person.role not in STAFF_ROLES or not person.active:
        raise Invalid(errors=[FieldError("/user", "Not of the active staff")])
    return person
