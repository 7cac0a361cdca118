"""Background loops end when they are cancelled, even if the cancellation is swallowed."""

from __future__ import annotations

import asyncio

from engine.process.loops import not_cancelled


async def test_a_swallowed_cancellation_ends_the_loop() -> None:
    """A loop that is cancelled at the moment when its awaited result arrives ends after that round."""
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
    await asyncio.sleep(0)  # the awaited result is there, and the loop has not run yet
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=10)
    assert done and rounds == 1
