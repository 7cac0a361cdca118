"""Doing what is due: waves, offers and jobs that end, late joiners, leases.

``due_take`` removes nothing, so a runner that dies loses nothing and two runners do no harm: the script that does
the work takes the entry away in its own step, and is a no-op where the job has moved on. How each class of due work
is done stands in engine/due.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from typing import TYPE_CHECKING

import structlog

from engine import due
from engine.errors import CalloutError
from engine.loops import going_on
from engine.store import keys
from engine.technicians import lease_ms
from engine.types import Zone
from engine.waves import open_wave

if TYPE_CHECKING:
    from engine.runtime import Engine

TAKE = 32
LEASE_S = 3.0
"""How long a node that fell silent keeps others from a zone's due work."""

__all__ = ["open_wave", "run", "run_once"]

log = structlog.get_logger(__name__)


async def run(engine: Engine) -> None:
    """Do due work for ever, for every zone of which this node holds the lease. Faults of Redis are waited out."""
    node = secrets.token_hex(8)
    async with asyncio.TaskGroup() as group:
        for zone in engine.store.zones:
            group.create_task(_run_zone(engine, zone, node), name=f"scheduler:{zone}")


async def _run_zone(engine: Engine, zone: Zone, node: str) -> None:
    while going_on():
        try:
            wait_s = await run_once(engine, zone, node)
        except CalloutError as error:
            log.debug("scheduler_waits", zone=zone, error=str(error))
            wait_s = 0.5
        except Exception:
            log.exception("scheduler_failed", zone=zone)
            wait_s = 1.0
        if wait_s > 0:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(engine.wake.wait(), wait_s)
            engine.wake.clear()


async def run_once(engine: Engine, zone: Zone, node: str = "one") -> float:
    """Take what is due and do it. Returns the seconds until there is more to do (at most 1: time must tick)."""
    names = {"meta": keys.meta(zone), "runner": keys.runner(zone, "scheduler")}
    held = await engine.store.run(zone, "runner_lease", keys=names, args={"node": node, "ms": round(LEASE_S * 1000)})
    if held.rest[0] != b"1":
        return 1.0
    names = {"meta": keys.meta(zone), "due": keys.due(zone), "seen": keys.seen(zone)}
    done = await engine.store.run(zone, "due_take", keys=names, args={"limit": TAKE, "lease_ms": lease_ms(engine)})
    wait_ms, *entries = done.rest
    results = await asyncio.gather(*(due.do(engine, zone, entry.decode()) for entry in entries), return_exceptions=True)
    for entry, result in zip(entries, results, strict=True):
        if isinstance(result, CalloutError):
            log.debug("due_later", zone=zone, entry=entry.decode(), error=str(result))
        elif isinstance(result, BaseException):
            log.error("due_failed", zone=zone, entry=entry.decode(), exc_info=result)
    # The work itself may have made more due at once (a wave not done, a freed technician): look again.
    return 0.0 if entries else int(wait_ms) / 1000
