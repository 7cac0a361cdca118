"""At the end of a run, Redis equals what a rebuild from SQL writes into an empty one."""

from __future__ import annotations

from engine.process.settings import Settings
from engine.startup import open_engine
from tests.nemesis.history import Flaw
from tests.rebuild.compare import check_rebuild

MAX_TEXT = 4000


async def rebuild_flaws(settings: Settings) -> list[Flaw]:
    """Empty Redis, write the zone anew, and return the difference. No server may run."""
    async with open_engine(settings) as engine:
        try:
            await check_rebuild(engine)
        except AssertionError as error:
            return [Flaw("rebuild_differs", str(error)[:MAX_TEXT])]
    return []
