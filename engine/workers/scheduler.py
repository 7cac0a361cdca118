"""Doing what is due: waves, offers and jobs that end, late joiners, leases.

``due_take`` removes nothing, so a runner that dies loses nothing and two runners do no harm: the script that does
the work takes the entry away in its own step, and is a no-op where the job has moved on. How each class of due work
is done stands in engine/workers/scheduled_tasks.py.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

import structlog

from engine.domain.waves import open_wave
from engine.errors import CalloutError
from engine.process.loops import not_cancelled
from engine.store import keys
from engine.technicians.live import lease_ms
from engine.types import Zone
from engine.workers import scheduled_tasks, wake
from engine.zone.leases import Leases

if TYPE_CHECKING:
    from engine.runtime import Engine

TAKE = 32
LEASE_S = 3.0
"""How long a node that fell silent keeps others from a zone's due work."""

__all__ = ["open_wave", "run", "run_once"]

log = structlog.get_logger(__name__)


async def run(engine: Engine) -> None:
    """Do due work for ever, for every zone of which this node holds the lease. Faults of Redis are waited out."""
    leases = Leases(engine.store, "scheduler", LEASE_S)
    wakes = {zone: asyncio.Event() for zone in engine.store.zones}
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(wake.run(engine, leases.mine, wakes), name="scheduler:wake")
            for zone in engine.store.zones:
                group.create_task(_run_zone(engine, zone, leases, wakes[zone]), name=f"scheduler:{zone}")
    finally:
        await leases.give_back()


async def _run_zone(engine: Engine, zone: Zone, leases: Leases, woken: asyncio.Event) -> None:
    while not_cancelled():
        woken.clear()
        try:
            wait_s = await run_once(engine, zone) if await leases.held(zone) else LEASE_S / 3
        except CalloutError as error:
            log.debug("scheduler_waits", zone=zone, error=str(error))
            wait_s = 0.5
        except Exception:  # a task boundary
            log.exception("scheduler_failed", zone=zone)
            wait_s = 1.0
        if wait_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(woken.wait(), wait_s)


async def run_once(engine: Engine, zone: Zone) -> float:
    """Take what is due and do it. Returns the seconds until there is more to do (at most 1: time must tick)."""
    names = {"meta": keys.meta(zone), "due": keys.due(zone), "seen": keys.seen(zone)}
    done = await engine.store.run(zone, "due_take", keys=names, args={"limit": TAKE, "lease_ms": lease_ms(engine)})
    wait_ms, *entries = done.rest
    results = await asyncio.gather(
        *(scheduled_tasks.do(engine, zone, entry.decode()) for entry in entries), return_exceptions=True
    )
    for entry, result in zip(entries, results, strict=True):
        if isinstance(result, CalloutError):
            log.debug("due_later", zone=zone, entry=entry.decode(), error=str(result))
        elif isinstance(result, BaseException):
            log.error("due_failed", zone=zone, entry=entry.decode(), exc_info=result)
    # The work itself may have made more due at once (a wave not done, a freed technician): look again.
    return 0.0 if entries else int(wait_ms) / 1000
