"""A running ``callout demo`` for tests."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.process import start_callout

WITHIN_S = 60.0
ALIVE = "the city is alive"


@asynccontextmanager
async def running_demo(data: Path, *flags: str) -> AsyncIterator[str]:
    """Run a demo on a free port while the block runs. Yield its URL when its first people are there."""
    process = await start_callout("demo", "--data", str(data), "--port", "0", *flags, env=os.environ)
    try:
        assert process.stdout
        printed = ""
        async with asyncio.timeout(WITHIN_S):
            while ALIVE not in printed:
                line = await process.stdout.readline()
                assert line, (await process.communicate())[1].decode()
                printed += line.decode()
        yield printed.partition("Callout is at ")[2].split()[0]
    finally:
        process.send_signal(signal.SIGTERM)
        await asyncio.wait_for(process.communicate(), WITHIN_S)
