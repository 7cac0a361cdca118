"""Chat rooms of jobs, opened by the engine's own scripts: a customer books a job, a technician at its place claims it,
and ops add staff to its room.
"""

from __future__ import annotations

import uuid
from typing import NamedTuple

import msgspec

from bench.load.claimed_jobs import claim_job, customer_id
from bench.load.seed import ZONE, SeededZone, gather_in_batches, member_id
from engine.domain.rooms import room_keys
from engine.store import keys
from engine.store.scripts import Args
from engine.types import Role, RoomId, UserId, room_of

OPS_ID = UserId("user_ops")
"""The user who adds staff to rooms."""


class RoomUser(NamedTuple):
    """A user and their role."""

    id: UserId
    role: Role


class OpenRoom(NamedTuple):
    """A room with its members: first the customer, then the technician, then mediators."""

    id: RoomId
    members: list[RoomUser]


async def open_rooms(zone: SeededZone, sizes: list[int]) -> list[OpenRoom]:
    """Open one room for each number in ``sizes``. The number says how many members the room has. Each member has an
    account.
    """
    jobs = await gather_in_batches(claim_job(zone, place) for place in range(len(sizes)))
    rooms = [
        OpenRoom(
            room_of(job),
            [
                RoomUser(UserId(customer_id(place)), "customer"),
                RoomUser(UserId(member_id(place)), "technician"),
                *(RoomUser(UserId(f"user_m{place}n{number}"), "mediator") for number in range(size - 2)),
            ],
        )
        for place, (job, size) in enumerate(zip(jobs, sizes, strict=True))
    ]
    await gather_in_batches(zone.create_account(user.id, user.role) for room in rooms for user in room.members)
    for room in rooms:
        for user in room.members[2:]:
            await _add_member(zone, room.id, user)
    return rooms


async def _add_member(zone: SeededZone, room: RoomId, user: RoomUser) -> None:
    key = str(uuid.uuid4())
    names = {**room_keys(ZONE, room), "log": keys.log(ZONE), "req": keys.idempotency_record(ZONE, OPS_ID, key)}
    args: Args = {"user": user.id, "name": msgspec.json.encode(user.id), "role": user.role, "actor": f"admin:{OPS_ID}"}
    args = {**args, "key": key, "fingerprint": "f" * 64, "trace": ""}
    await zone.store.run(ZONE, "room_member_add", keys=names, args=args)
