"""Delay the chores of servers in the tests' own process by some seconds. Most servers of tests have ended by then, and
the first round of the chores uses much of the CPU time of a start. Servers in processes of their own start the chores
immediately, as in production.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable

from engine.runtime import Engine
from engine.workers import demand, maintenance, travel_learner
from server import serve

DELAY_S = 3.0
INTERVALS: dict[Callable[[Engine], Awaitable[None]], Callable[[], float]] = {
    maintenance.run: lambda: maintenance.INTERVAL_S,
    demand.run: lambda: demand.INTERVAL_S,
    travel_learner.run: lambda: travel_learner.CHECK_INTERVAL_S,
}
"""The loops with such chores, and the pause of each: a test that shortens it waits no longer than that."""


def delay_chores() -> None:
    """Delay the first round of the chores in the servers of this process."""
    serve.ROLE_LOOPS.update(
        {role: tuple(_delayed(loop) if loop in INTERVALS else loop for loop in loops) for role, loops in LOOPS.items()}
    )


LOOPS = dict(serve.ROLE_LOOPS)


def _delayed(loop: Callable[[Engine], Awaitable[None]]) -> Callable[[Engine], Awaitable[None]]:
    @functools.wraps(loop)
    async def run(engine: Engine) -> None:
        await asyncio.sleep(min(DELAY_S, INTERVALS[loop]()))
        await loop(engine)

    return run
