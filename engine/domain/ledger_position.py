"""Compare the position up to which the ledger is written with the heads of the logs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from sqlalchemy import select

from engine.errors import Unavailable
from engine.sql.ledger_tables import ledger_progress
from engine.sql.schema import events
from engine.store import keys
from engine.types import DEFAULT_ZONE, Zone
from engine.zone import log

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_WAIT_S = 2.0
"""How long (seconds) to wait until the ledger reaches the heads of the logs."""
POLL_INTERVAL_S = 0.02
MAX_UNBOOKED_EVENTS = 1_000
"""The most events of a log, beyond the ledger, that are read to find earnings."""


async def wait_for_heads(engine: Engine) -> int:
    """Wait until the ledger has all events that the logs of all zones have now. Return the time of ``main``'s clock in
    ms. Raises Unavailable after ``MAX_WAIT_S``, or if a zone is closed.
    """
    heads = await read_heads(engine)
    at_ms = await read_clock(engine)
    for _ in range(round(MAX_WAIT_S / POLL_INTERVAL_S)):
        if not await missing_zones(engine, heads):
            return at_ms
        await asyncio.sleep(POLL_INTERVAL_S)
    raise Unavailable("The ledger has not reached the heads of the logs yet")


async def read_heads(engine: Engine) -> dict[Zone, int]:
    """Return the last seq of each zone's log. Raises Unavailable if a zone is closed."""
    heads: dict[Zone, int] = {}
    for zone, state in engine.store.zones.items():
        if not state.open:
            raise Unavailable(f"zone {zone} is closed: {state.why}")
        heads[zone] = (await log.read_head(engine.store.read_connection, zone)).seq
    return heads


async def missing_zones(engine: Engine, heads: dict[Zone, int]) -> list[Zone]:
    """Return the zones whose log the ledger has not reached up to the seq in ``heads``."""
    async with engine.archive.begin_read() as conn:
        rows = await conn.execute(select(ledger_progress))
        reached = {row.zone: row.seq for row in rows}
    return [zone for zone, seq in heads.items() if reached.get(zone, 0) < seq]


async def has_passed(engine: Engine, until_ms: int) -> bool:
    """Return whether the ledger has every event before ``until_ms``: in each zone, it has a later event, or it has the
    whole log and the zone's clock is past that time. Return False if Redis is unavailable.
    """
    columns = events.c
    same = (columns.zone == ledger_progress.c.zone) & (columns.seq == ledger_progress.c.seq)
    query = select(columns.zone).select_from(ledger_progress.join(events, same)).where(columns.at >= until_ms)
    async with engine.archive.begin_read() as conn:
        passed = set((await conn.execute(query)).scalars())
    if passed >= set(engine.store.zones):
        return True
    try:
        # The clocks are read before the heads, so that later events are not before these times. Each zone has its own
        # clock.
        at_ms = min([await read_clock(engine, zone) for zone in engine.store.zones])
        heads = await read_heads(engine)
    except Unavailable:
        return False
    return at_ms >= until_ms and passed.issuperset(await missing_zones(engine, heads))


async def has_unbooked_earnings(engine: Engine, technician: str) -> bool:
    """Return whether a log has earnings of a technician that the ledger does not have yet. Raises Unavailable if SQL or
    Redis is unavailable, or if the archive is more than ``MAX_UNBOOKED_EVENTS`` behind.
    """
    async with engine.archive.begin_read() as conn:
        reached = {row.zone: row.seq for row in await conn.execute(select(ledger_progress))}
    named = technician.encode()
    for zone in engine.store.zones:
        unbooked = await log.read_range(engine.store.read_connection, zone, reached.get(zone, 0), MAX_UNBOOKED_EVENTS)
        if any(event.type == "session.ledger" and named in event.data for event in unbooked):
            return True
        if len(unbooked) == MAX_UNBOOKED_EVENTS:
            raise Unavailable("The ledger is too far behind the logs")
    return False


async def read_clock(engine: Engine, zone: Zone = DEFAULT_ZONE) -> int:
    """Return the time of the zone's clock in ms since the Unix epoch. It is late by at most one second."""
    return int(await engine.store.command("HGET", keys.zone_meta(zone), "now") or 0)
