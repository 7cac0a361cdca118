"""The check at the end of a run that a rebuild from SQL into an empty Redis writes the same keys that Redis has."""

from __future__ import annotations

from engine.process.settings import Settings
from engine.startup import open_engine
from tests.nemesis.history import Flaw
from tests.rebuild.compare import check_rebuild

MAX_TEXT = 4000


async def rebuild_flaws(settings: Settings) -> list[Flaw]:
    """Empty Redis, rebuild the zone from SQL, and return the differences as errors. No server may run."""
    async with open_engine(settings) as engine:
        try:
            await check_rebuild(engine)
        except AssertionError as error:
            return [Flaw("rebuild_differs", str(error)[:MAX_TEXT])]
    return []
