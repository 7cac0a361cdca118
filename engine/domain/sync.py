"""The snapshot from which a client starts: all data that the client displays, and the cursor from which the client
receives every later event.

The cursor is read **before** the state. A change between the two reads is in the state and is sent again as an event,
which the client recognizes by ``version``. In the other order such a change would be neither in the state nor in a
later event.
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

MAX_ITEMS = 200
NO_LOG = (Epoch(""), Epoch("closed"))


class Me(msgspec.Struct, frozen=True, omit_defaults=True):
    """The caller's account and, for a technician, their profile."""

    user: User
    technician: Technician | TechnicianCard | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """The state for one caller. ``jobs`` are the jobs that have not ended, at most ``MAX_ITEMS``; ``next`` is the
    cursor for the rest of the list. JSON documents are stored as bytes.
    """

    me: Me
    jobs: list[bytes]
    next: str | None
    offers: list[bytes]
    notifications: list[Notification]
    cursor: dict[Zone, Cursor]


async def snapshot(engine: Engine, caller: Principal) -> Snapshot:
    """Return the snapshot for ``caller``. Neither the state nor the cursor contains closed zones.

    Raises Unavailable if SQL or Redis is unavailable, or no zone is open.
    """
    cursor = await _heads(engine)
    if not cursor:
        raise Unavailable("No zone is open")
    own, jobs, open_offers, unread = await asyncio.gather(
        me(engine, caller),
        job_queries.live(engine, caller, MAX_ITEMS),
        _offers(engine, caller),
        notifications.unread(engine, caller, MAX_ITEMS),
    )
    return Snapshot(own, jobs.items, jobs.next, open_offers.items, unread, cursor)


async def _heads(engine: Engine) -> dict[Zone, Cursor]:
    heads = {zone: await log.head(engine.store.reads, zone) for zone, state in engine.store.zones.items() if state.open}
    return {zone: head for zone, head in heads.items() if head.epoch not in NO_LOG}


async def me(engine: Engine, caller: Principal) -> Me:
    """Return the caller's account and profile. Raises Unavailable."""
    user = await accounts.me(engine, caller)
    if caller.role != "technician" or caller.id.startswith("cli_"):
        return Me(user)
    return Me(user, await profile.read(engine, caller, TechnicianId(caller.id)))


async def _offers(engine: Engine, caller: Principal) -> Page:
    return await offers.open_to(engine, caller) if caller.role == "technician" else Page([], None)
