"""Sending everybody away, not all in the same moment: those who come back at once would meet at the next node.

In random order, a batch every tenth of a second; each session goes when the commands it has in hand are answered
(``Session.leave``). A few need no spreading: a batch is never smaller than ``AT_LEAST``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection
from math import ceil

from server.gateway.session import Session

TICK_S = 0.1
AT_LEAST = 20


async def send_away(sessions: Collection[Session], over_s: float) -> None:
    """Tell all of ``sessions`` to come back elsewhere (4000), within ``over_s`` seconds. Those that still wait for an
    answer may be left when this returns.
    """
    order = list(sessions)
    random.shuffle(order)
    batch = max(AT_LEAST, ceil(len(order) * TICK_S / max(over_s, TICK_S)))
    for start in range(0, len(order), batch):
        if start:
            await asyncio.sleep(TICK_S)
        for session in order[start : start + batch]:
            session.leave()
