"""Close all sessions of a gateway that shuts down, spread over time: clients that reconnect all at once would overload
the next node.

Sessions are closed in random order, one batch every tenth of a second. Each session closes when its running commands
are answered (``Session.close_when_idle``). A few sessions need no spreading: a batch is never smaller than
``MIN_BATCH_SESSIONS``.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection
from math import ceil

from server.gateway.session import Session

BATCH_EVERY_S = 0.1
MIN_BATCH_SESSIONS = 20


async def close_all(sessions: Collection[Session], duration_s: float) -> None:
    """Tell all ``sessions`` within ``duration_s`` seconds to reconnect to another node (close code 4000). Sessions that
    still wait for a reply may be open when this returns.
    """
    order = list(sessions)
    random.shuffle(order)
    batch = max(MIN_BATCH_SESSIONS, ceil(len(order) * BATCH_EVERY_S / max(duration_s, BATCH_EVERY_S)))
    for start in range(0, len(order), batch):
        if start:
            await asyncio.sleep(BATCH_EVERY_S)
        for session in order[start : start + batch]:
            session.close_when_idle()
