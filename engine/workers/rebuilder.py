"""The rebuilder: zones that Redis has lost are written anew from SQL, by whichever process takes the lock first."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from engine.process.loops import not_cancelled
from engine.rebuild import rebuilder

if TYPE_CHECKING:
    from engine.runtime import Engine

INTERVAL_S = 0.5

log = structlog.get_logger(__name__)


async def run(engine: Engine) -> None:
    """Rebuild the zones of this process that are closed for it, until cancelled."""
    while not_cancelled():
        try:
            await rebuilder.run_once(engine)
        except Exception:  # a task boundary
            log.exception("rebuilder_failed")
        await asyncio.sleep(INTERVAL_S)
