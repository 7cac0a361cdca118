"""Show how much of a zone is rebuilt: a bar on a terminal, otherwise a line every few seconds."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from engine.types import Zone
from server.simulation.progress import show_progress

if TYPE_CHECKING:
    from rich.console import Console

    from engine.rebuild.rebuilder import RunningRebuilds

INTERVAL_S = 0.1


@contextlib.asynccontextmanager
async def shown_progress(console: Console, zone: Zone, running: RunningRebuilds) -> AsyncIterator[None]:
    """Show how many rows of a zone are written while the block rebuilds the zone. ``running`` counts the rows of all
    running rebuilds.
    """
    ended = asyncio.Event()
    task = asyncio.create_task(_follow(console, zone, running, ended))
    try:
        yield
    finally:
        ended.set()
        await task


async def _follow(console: Console, zone: Zone, running: RunningRebuilds, ended: asyncio.Event) -> None:
    while zone not in running and not await _is_set_soon(ended):
        pass
    if (writer := running.get(zone)) is None:
        return
    with show_progress(console, f"zone {zone}: rows written", writer.total) as update:
        while zone in running and not await _is_set_soon(ended):
            update(writer.done, "")
        update(writer.done, "")


async def _is_set_soon(event: asyncio.Event) -> bool:
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), INTERVAL_S)
    return event.is_set()
