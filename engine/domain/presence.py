"""Read which users are online. Only users who share a live job or an open room with them now, and ops, may know.

A job shares the presence of its customer and its holder from its ``track_from`` state on, as it shares the position. A
room shares the presence of its members while it is open. Nobody learns anything about other users: they are left out of
a reply, as users who do not exist are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING

import msgspec

from engine.clock import now_ms
from engine.domain.positions import ENDED_PHASES, is_shared_with_customer
from engine.events import rfc3339_of
from engine.identity import signs_of_life
from engine.store import keys
from engine.types import JobId, Principal, RoomId, UserId, Zone, is_id

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_USERS_PER_QUERY = 100
"""How many users one request may ask about, and one session may watch."""
USERS_PER_BATCH = 25
"""For how many users the shared jobs and rooms are read at the same time."""
MAX_SHARED_EXAMINED = 50
"""How many shared jobs, and shared rooms, of two users are looked at."""


class UserPresence(msgspec.Struct, frozen=True):
    """Whether a user gave a sign of life within the lease, and when the last one was; None if it is not known."""

    user: str
    online: bool
    last_seen: str | None


async def find_presence(engine: Engine, caller: Principal, users: Collection[str]) -> list[UserPresence]:
    """Return the presence of those of ``users`` of whom the caller may know it, in the given order. Raises
    Unavailable.
    """
    visible = await find_visible(engine, caller, users)
    return await read_presence(engine, [user for user in dict.fromkeys(users) if user in visible])


async def read_presence(engine: Engine, users: Sequence[str]) -> list[UserPresence]:
    """Return the presence of each user, without a check of the caller's rights. Raises Unavailable."""
    signs = await signs_of_life.read_signs(engine, users)
    return [UserPresence(user, user in signs, rfc3339_of(signs[user]) if user in signs else None) for user in users]


async def find_visible(engine: Engine, caller: Principal, users: Collection[str]) -> set[str]:
    """Return those of ``users`` of whom the caller may know now whether they are online. Raises Unavailable."""
    known = [user for user in dict.fromkeys(users) if is_id(user)]
    if caller.is_ops:
        return set(known)
    visible: set[str] = set()
    zones = await _zones_of(engine, caller.id)
    for start in range(0, len(known), USERS_PER_BATCH):
        batch = known[start : start + USERS_PER_BATCH]
        found = await asyncio.gather(*(_is_visible(engine, zones, caller.id, UserId(user)) for user in batch))
        visible.update(user for user, may in zip(batch, found, strict=True) if may)
    return visible


async def _zones_of(engine: Engine, user: UserId) -> list[Zone]:
    """Return the zones in which the user has a live job or a room, usually one."""
    zones, read = list(engine.store.zones), engine.store.read_connection
    if len(zones) == 1:
        return zones
    names = ((keys.user_jobs(zone, user), keys.user_rooms(zone, user)) for zone in zones)
    found = await asyncio.gather(*(read.count_existing(*each) for each in names))
    return [zone for zone, has_any in zip(zones, found, strict=True) if has_any]


async def _is_visible(engine: Engine, zones: list[Zone], user: UserId, other: UserId) -> bool:
    """Return whether two users share a live job or an open room in one of ``zones``. A user always sees themself."""
    if user == other:
        return True
    return any(await asyncio.gather(*(_share_job_or_room(engine, zone, user, other) for zone in zones)))


async def _share_job_or_room(engine: Engine, zone: Zone, user: UserId, other: UserId) -> bool:
    read = engine.store.read_connection
    jobs, rooms = await asyncio.gather(
        read.common_members(keys.user_jobs(zone, user), keys.user_jobs(zone, other)),
        read.common_members(keys.user_rooms(zone, user), keys.user_rooms(zone, other)),
    )
    shared = await asyncio.gather(
        *(_is_presence_shared(engine, zone, JobId(job.decode()), {user, other}) for job in jobs[:MAX_SHARED_EXAMINED]),
        *(_is_open_room(engine, zone, RoomId(room.decode())) for room in rooms[:MAX_SHARED_EXAMINED]),
    )
    return any(shared)


async def _is_presence_shared(engine: Engine, zone: Zone, job: JobId, parties: set[UserId]) -> bool:
    """Return whether ``parties`` are the job's customer and holder, and the job shares their presence now."""
    fields = ("customer", "holder", "bp", "status", "phase", "scheduled")
    customer, holder, bp, status, phase, scheduled = await engine.store.read_connection.hmget(
        keys.job(zone, job), fields
    )
    if bp is None or {(customer or b"").decode(), (holder or b"").decode()} != parties:
        return False
    blueprint = engine.blueprints.find_exact(bp.decode())
    if blueprint is None or phase.decode() in ENDED_PHASES:
        return False
    return is_shared_with_customer(blueprint, status.decode(), int(scheduled or 0), now_ms())


async def _is_open_room(engine: Engine, zone: Zone, room: RoomId) -> bool:
    """Return whether a room is open. The caller knows already that both users are members of it."""
    return bool(await engine.store.read_connection.hget(keys.room(zone, room), "state") == b"open")
