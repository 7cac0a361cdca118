"""One snapshot to start from: everything a client shows, and the cursor from which nothing is missing.

The cursor is read **before** the state. What happens in between is in the state already and comes as an event once
more, which a client tells by ``version``; read the other way round, it would be in neither.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import msgspec

from engine.domain import job_queries, notifications, offers
from engine.domain.job_queries import Page
from engine.domain.notifications import Notification
from engine.errors import Unavailable
from engine.identity import accounts
from engine.identity.accounts import User
from engine.technicians import profile
from engine.technicians.profile import Technician, TechnicianCard
from engine.types import Cursor, Epoch, Principal, TechnicianId, Zone
from engine.zone import log

if TYPE_CHECKING:
    from engine.runtime import Engine

MOST = 200
NOWHERE = (Epoch(""), Epoch("closed"))


class Me(msgspec.Struct, frozen=True, omit_defaults=True):
    """The caller's account, and his profile where he is a technician."""

    user: User
    technician: Technician | TechnicianCard | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """What there is. ``jobs`` that are not over, at most ``MOST``; ``next`` goes on in the list of jobs. JSON documents
    are bytes.
    """

    me: Me
    jobs: list[bytes]
    next: str | None
    offers: list[bytes]
    notifications: list[Notification]
    cursor: dict[Zone, Cursor]


async def snapshot(engine: Engine, caller: Principal) -> Snapshot:
    """All of it for ``caller``. Zones that are closed are in neither state nor cursor.

    Raises Unavailable where SQL or Redis is away, or no zone is open.
    """
    cursor = await _heads(engine)
    if not cursor:
        raise Unavailable("No zone is open")
    who, jobs, open_to_him, unread = await asyncio.gather(
        me(engine, caller),
        job_queries.live(engine, caller, MOST),
        _offers(engine, caller),
        notifications.unread(engine, caller, MOST),
    )
    return Snapshot(who, jobs.items, jobs.next, open_to_him.items, unread, cursor)


async def _heads(engine: Engine) -> dict[Zone, Cursor]:
    heads = {zone: await log.head(engine.store.reads, zone) for zone, state in engine.store.zones.items() if state.open}
    return {zone: head for zone, head in heads.items() if head.epoch not in NOWHERE}


async def me(engine: Engine, caller: Principal) -> Me:
    """Who the caller is. Raises Unavailable."""
    user = await accounts.me(engine, caller)
    if caller.role != "technician" or caller.id.startswith("cli_"):
        return Me(user)
    return Me(user, await profile.read(engine, caller, TechnicianId(caller.id)))


async def _offers(engine: Engine, caller: Principal) -> Page:
    return await offers.open_to(engine, caller) if caller.role == "technician" else Page([], None)
