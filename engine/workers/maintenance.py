"""Periodic repairs: records in Redis that differ from SQL are corrected, expired rows are deleted, persons are erased.

Any number of processes may run the repairs at once; each process repairs what is still wrong.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from engine.domain import blocks
from engine.errors import CalloutError
from engine.idempotency import in_sql
from engine.identity import tokens
from engine.process.loops import not_cancelled
from engine.technicians import sql
from engine.workers import eraser, file_removal, position_archive, retention

if TYPE_CHECKING:
    from engine.runtime import Engine

INTERVAL_S = 60.0

log = structlog.get_logger(__name__)


async def run(engine: Engine) -> None:
    """Run all repairs once a minute, until cancelled. A failed repair is logged and tried again a minute later."""
    while not_cancelled():
        await run_once(engine)
        await asyncio.sleep(INTERVAL_S)


async def run_once(engine: Engine) -> dict[str, int]:
    """Run all repairs. Return how many rows or records each one changed, or -1 if it failed."""
    repairs: dict[str, Callable[[], Awaitable[int]]] = {
        "profiles": lambda: sql.repair_redis(engine),
        "blocks": lambda: blocks.repair_blocks(engine),
        "idempotency_records": lambda: in_sql.delete_expired(engine.archive),
        "paths": lambda: position_archive.delete_old_paths(engine),
        "retention": lambda: retention.run_once(engine),
        "sessions": lambda: tokens.delete_expired_logins(engine),
        "erasures": lambda: eraser.run_once(engine),
        "files": lambda: file_removal.run_once(engine),
    }
    return {name: await _run_repair(name, repair) for name, repair in repairs.items()}


async def _run_repair(repair_name: str, repair: Callable[[], Awaitable[int]]) -> int:
    """Run one repair. Return the number of its changes, or log the error and return -1."""
    try:
        found = await repair()
    except CalloutError as error:
        log.warning("repair_postponed", repair=repair_name, error=str(error))
    except Exception:  # a task boundary
        log.exception("repair_failed", repair=repair_name)
    else:
        if found:
            log.info("repair_done", repair=repair_name, found=found)
        return found
    return -1
