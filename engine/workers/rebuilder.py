"""The rebuilder: rebuild zones that Redis has lost from SQL. The process that gets the lock first rebuilds a zone."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from engine.process.loops import not_cancelled
from engine.process.metrics import ReadValue
from engine.rebuild import rebuilder
from engine.rebuild.rebuilder import RunningRebuilds

if TYPE_CHECKING:
    from engine.runtime import Engine

INTERVAL_S = 0.5

log = structlog.get_logger(__name__)


async def run(engine: Engine) -> None:
    """Rebuild each zone of this process that is closed because Redis lacks what SQL has, until cancelled."""
    running: RunningRebuilds = {}
    done = engine.metrics.add_counter("rebuilds", "Zones that were rebuilt from SQL", "zone", "reason")
    for name, text, member in (
        ("rebuild_rows", "Rows that the rebuild under way has written", "done"),
        ("rebuild_rows_total", "Rows that the rebuild under way will write", "total"),
    ):
        engine.metrics.add_callback_metric(name, text, _progress_reader(running, member), "zone")
    while not_cancelled():
        try:
            for report in await rebuilder.run_once(engine, running):
                done.labels(report.zone, report.word).inc()
        except Exception:  # a task boundary
            log.exception("rebuilder_failed")
        await asyncio.sleep(INTERVAL_S)


def _progress_reader(running: RunningRebuilds, member: str) -> ReadValue:
    return lambda: {(zone,): float(getattr(writer, member)) for zone, writer in running.items()}
