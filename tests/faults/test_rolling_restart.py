"""Two gateways on one Redis, restarted one after the other under load: nobody notices but by a short pause.

The scenario is ``bench/questions/restart.py``, here with few people; ``python -m bench restart`` is its full size.
"""

from __future__ import annotations

import asyncio

from tests.test_bench import found


async def test_nothing_is_lost_twice_or_undone() -> None:
    """While technicians race for jobs each gateway is stopped (SIGTERM) and started again: every client is back by
    itself with every event once and in order, and whoever was told that he has a job has it.
    """
    figures = await asyncio.to_thread(found, "restart", "--clients", "60", "--jobs", "24", "--pace", "6")
    assert figures["jobs won"] == 24
    assert figures["events heard in all"] >= 60 * 24
    for nothing in (
        "events lost",
        "events handed on twice",
        "claims acknowledged and undone",
        "told recovered:false",
        "repeats sent by the server",
    ):
        assert figures[nothing] == 0, nothing
