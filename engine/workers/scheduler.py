"""The scheduler runs scheduled tasks: waves, expiries of offers and jobs, late joins, presence leases.

The script ``due_take`` removes nothing, so no task is lost if a scheduler dies, and two schedulers at once do no harm.
The script that does a task removes its entry in the same step, and does nothing if the job has changed meanwhile.
engine/workers/scheduled_tasks.py has a function for each kind of task.
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
from engine.store.acknowledgement import without_acknowledgement
from engine.technicians.live import presence_lease_ms
from engine.types import Zone
from engine.workers import scheduled_tasks, wake
from engine.zone.leases import Leases

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_TASKS_AT_ONCE = 32
"""The most tasks that are taken at once."""
LEASE_S = 3.0
"""How long a zone's tasks wait after the process that held its lease has died."""

__all__ = ["open_wave", "run", "run_once"]

log = structlog.get_logger(__name__)


async def run(engine: Engine) -> None:
    """Run the tasks of every zone whose lease this process holds, until cancelled. Retries after failures of Redis."""
    leases = Leases(engine.store, "scheduler", LEASE_S)
    wakes = {zone: asyncio.Event() for zone in engine.settings.zones}
    with without_acknowledgement():
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(wake.wake_schedulers(engine, leases.held_zones, wakes), name="scheduler:wake")
                for zone in engine.settings.zones:
                    group.create_task(_run_zone(engine, zone, leases, wakes[zone]), name=f"scheduler:{zone}")
        finally:
            await leases.release_all()


async def _run_zone(engine: Engine, zone: Zone, leases: Leases, woken: asyncio.Event) -> None:
    """Run the tasks of one zone while its lease is held. ``woken`` ends the wait for the next task."""
    while not_cancelled():
        woken.clear()
        try:
            wait_s = await run_once(engine, zone) if await leases.holds_lease(zone) else LEASE_S / 3
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
    """Run the tasks that are due. Return the seconds until the next task is due; 0 if any task ran, and at most 1, so
    that the zone's clock advances.
    """
    names = {"meta": keys.zone_meta(zone), "due": keys.due_tasks(zone), "seen": keys.last_seen(zone)}
    done = await engine.store.run(
        zone, "due_take", keys=names, args={"limit": MAX_TASKS_AT_ONCE, "lease_ms": presence_lease_ms(engine)}
    )
    wait_ms, *entries = done.values
    results = await asyncio.gather(
        *(scheduled_tasks.run_task(engine, zone, entry.decode()) for entry in entries), return_exceptions=True
    )
    for entry, result in zip(entries, results, strict=True):
        if isinstance(result, CalloutError):
            log.debug("due_later", zone=zone, entry=entry.decode(), error=str(result))
        elif isinstance(result, BaseException):
            log.error("due_failed", zone=zone, entry=entry.decode(), exc_info=result)
    # A task may make another task due at once (an unfinished wave, a technician who became free): check again now.
    return 0.0 if entries else int(wait_ms) / 1000
