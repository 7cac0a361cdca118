"""A background loop ends when it is cancelled, even if the code that it awaits does not raise the `CancelledError`."""

from __future__ import annotations

import asyncio

from engine.process.loops import not_cancelled


async def test_a_lost_cancellation_ends_the_loop() -> None:
    """If a loop is cancelled at the moment when the result that it awaits arrives, no `CancelledError` is raised; the
    loop still ends after this round.
    """
    ready, rounds = asyncio.Event(), 0

    async def run_loop() -> None:
        nonlocal rounds
        while not_cancelled():
            rounds += 1
            await asyncio.wait_for(ready.wait(), 60)
            await asyncio.sleep(0)

    task = asyncio.create_task(run_loop())
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    ready.set()
    await asyncio.sleep(0)  # now the result that the loop awaits is set, and the loop has not continued yet
    task.cancel()
    done, _ = await asyncio.wait([task], timeout=10)
    assert done and rounds == 1
