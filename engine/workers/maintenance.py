"""Periodic repairs: Redis is brought in line with the records of SQL, and expired rows are deleted.

Any number of processes may run them at once; each does what is left to do.
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

if TYPE_CHECKING:
    from engine.runtime import Engine

EVERY_S = 60.0

log = structlog.get_logger(__name__)


async def run(engine: Engine) -> None:
    """Run every repair once a minute, until cancelled. A failure is logged, and the next run tries again."""
    while not_cancelled():
        await run_once(engine)
        await asyncio.sleep(EVERY_S)


async def run_once(engine: Engine) -> dict[str, int]:
    """Run every repair; returns how many rows or records each changed, or -1 if it failed."""
    chores: dict[str, Callable[[], Awaitable[int]]] = {
        "profiles": lambda: sql.repair(engine),
        "blocks": lambda: blocks.repair(engine),
        "verdicts": lambda: in_sql.delete_expired(engine.archive),
        "sessions": lambda: tokens.delete_expired_sessions(engine),
    }
    return {name: await _tried(name, chore) for name, chore in chores.items()}


async def _tried(name: str, chore: Callable[[], Awaitable[int]]) -> int:
    try:
        found = await chore()
    except CalloutError as error:
        log.warning("chore_waits", chore=name, error=str(error))
    except Exception:  # a task boundary
        log.exception("chore_failed", chore=name)
    else:
        if found:
            log.info("chore_done", chore=name, found=found)
        return found
    return -1
