"""Loops end when they are told to, whatever swallows the word."""

from __future__ import annotations

import asyncio

from engine.process.loops import not_cancelled


async def test_a_cancellation_that_was_swallowed_ends_the_loop_all_the_same() -> None:
    """Cancelled in the moment at which what it waits for is there, a loop ends after that round."""
    ready, rounds = asyncio.Event(), 0

    async def run() -> None:
        nonlocal rounds
        while not_cancelled():
            rounds += 1
            await asyncio.wait_for(ready.wait(), 60)
            await asyncio.sleep(0)

    task = asyncio.create_task(run())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    ready.set()
    await asyncio.sleep(0)  # what it waits for is there, and it has not been woken yet
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=10)
    assert done and rounds == 1
