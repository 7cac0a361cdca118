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

from engine.domain import job_queries, notifications, offers, profile, room_list
from engine.domain.job_queries import Page
from engine.domain.notifications import Notification
from engine.domain.profile import Technician, TechnicianCard
from engine.errors import Unavailable
from engine.identity import accounts
from engine.identity.accounts import User
from engine.types import Cursor, Epoch, Principal, TechnicianId, Zone
from engine.zone import acknowledged_events

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_ITEMS = 200
EPOCHS_WITHOUT_LOG = (Epoch(""), Epoch("closed"))


class OwnAccount(msgspec.Struct, frozen=True, omit_defaults=True):
    """The caller's account and, for a technician, their profile."""

    user: User
    technician: Technician | TechnicianCard | None = None


class Snapshot(msgspec.Struct, frozen=True):
    """The state for one caller. ``jobs`` are the jobs that have not ended, at most ``MAX_ITEMS``; ``next`` is the
    cursor for the rest of the list. ``rooms`` are the caller's rooms that are open or were closed lately, at most
    ``MAX_ITEMS``. JSON documents are stored as bytes.
    """

    me: OwnAccount
    jobs: list[bytes]
    next: str | None
    offers: list[bytes]
    rooms: list[bytes]
    notifications: list[Notification]
    cursor: dict[Zone, Cursor]


async def read_snapshot(engine: Engine, caller: Principal) -> Snapshot:
    """Return the snapshot for ``caller``. Neither the state nor the cursor contains closed zones.

    Raises Unavailable if SQL or Redis is unavailable, or no zone is open.
    """
    cursor = await _log_heads(engine)
    if not cursor:
        raise Unavailable("No zone is open")
    own, jobs, open_offers, rooms, unread = await asyncio.gather(
        read_own_account(engine, caller),
        job_queries.live_jobs(engine, caller, MAX_ITEMS),
        _open_offers(engine, caller),
        room_list.find_live(engine, caller, MAX_ITEMS),
        notifications.find_unread(engine, caller, MAX_ITEMS),
    )
    return Snapshot(own, jobs.items, jobs.next, open_offers.items, rooms, unread, cursor)


async def _log_heads(engine: Engine) -> dict[Zone, Cursor]:
    zones, read = [zone for zone, state in engine.store.zones.items() if state.open], engine.store.read_connection
    heads = await asyncio.gather(*(acknowledged_events.read_head(engine.store, read, zone) for zone in zones))
    return {zone: head for zone, head in zip(zones, heads, strict=True) if head.epoch not in EPOCHS_WITHOUT_LOG}


async def read_own_account(engine: Engine, caller: Principal) -> OwnAccount:
    """Return the caller's account and profile. Raises Unavailable."""
    user = await accounts.read_own_user(engine, caller)
    if caller.role != "technician" or caller.id.startswith("cli_"):
        return OwnAccount(user)
    return OwnAccount(user, await profile.read_technician(engine, caller, TechnicianId(caller.id)))


async def _open_offers(engine: Engine, caller: Principal) -> Page:
    return await offers.find_open_offers(engine, caller) if caller.role == "technician" else Page([], None)
