"""Read only those events of a log that are acknowledged: the relay and the notifier hand on no others.

At the acknowledgement level ``sql`` these are the archived events, at level ``replica`` the events that all replicas
have. At the other levels every event in the log is acknowledged. What is held back stays in the log and is read again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from redis.asyncio import Redis

from engine.errors import CalloutError, Unavailable
from engine.events import Event
from engine.store import keys
from engine.store.connection import Store
from engine.store.replica_wait import PROBE_LIFETIME_MS
from engine.store.stream_connection import Reads
from engine.types import Cursor, Epoch, Zone
from engine.zone import log

MAX_WAIT_S = 0.25
"""How long to wait for the first event to be acknowledged: meanwhile no new events are read."""
RETRY_S = 0.05


async def wait_for_events(
    store: Store, client: Redis | Reads, after: Mapping[Zone, int], block_ms: int, count: int
) -> list[Event]:
    """Return the same as ``log.wait_for_events``, but without the events that are not acknowledged yet. This takes up
    to ``MAX_WAIT_S`` longer. Raises the same errors.
    """
    # The events are from the server and the epoch before the read, or from later ones: then they count as held back.
    run_ids, epochs = {zone: store.run_id_of(zone) for zone in after}, {zone: store.zones[zone].epoch for zone in after}
    found = await log.wait_for_events(client, after, block_ms, count)
    if not found or not store.acknowledgements.holds_back:
        return found
    firsts = {event.zone: event.seq for event in reversed(found)}
    lasts = {event.zone: event.seq for event in found}
    waits = {
        zone: asyncio.create_task(
            _wait_for_seq(store, zone, run_ids[zone], epochs[zone], first=firsts[zone], last=lasts[zone])
        )
        for zone in lasts
    }
    try:
        await asyncio.wait(waits.values(), return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits.values():
            wait.cancel()
    reached = {zone: wait.result() for zone, wait in waits.items() if wait.done()}
    return [event for event in found if event.seq <= (reached.get(event.zone) or 0)]


async def read_head(store: Store, client: Redis | Reads, zone: Zone) -> Cursor:
    """Return the last acknowledged seq of the zone's log and its epoch, as they are now. Raises Unavailable."""
    run_id = store.run_id_of(zone)
    head = await log.read_head(client, zone)
    if not store.acknowledgements.holds_back or head.epoch in ("", "closed"):
        return head
    if store.acknowledgements.level == "sql":
        archived = await log.read_archived_seq(client, zone)
        return Cursor(head.epoch, min(head.seq, archived))
    if await _wait_for_seq(store, zone, run_id, head.epoch, first=head.seq, last=head.seq) is None:
        raise Unavailable("the replicas do not have the head of the log yet")
    return head


async def _wait_for_seq(store: Store, zone: Zone, run_id: str, epoch: Epoch, *, first: int, last: int) -> int | None:
    """Return up to which seq, at most ``last``, the events of the epoch are acknowledged; None if ``first`` is not."""
    if store.acknowledgements.level == "sql":
        archived = await store.acknowledgements.wait_for_archive(zone, Cursor(epoch, first), MAX_WAIT_S)
        return min(last, archived) if archived is not None else None
    try:
        # A write after the events were read: when the replicas have it, they have the events too.
        await store.command("SET", keys.write_probe(zone), 1, "PX", PROBE_LIFETIME_MS)
    except CalloutError:
        await asyncio.sleep(RETRY_S)
        return None
    return last if store.run_id_of(zone) == run_id else None
