"""A server of several real processes, for tests that otherwise run a whole server in their own process.

``CALLOUT_TEST_WORKERS=2`` runs them with two gateways, ``CALLOUT_TEST_SPLIT=1`` with a process for each role. A
test that changes constants of modules in its own process cannot run with such a server: ``needs_own_process`` skips it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from engine.process.settings import Settings
from engine.runtime import Engine
from engine.startup import open_engine
from tests.support import process

WORKERS = int(os.environ.get("CALLOUT_TEST_WORKERS", "1"))
IS_SPLIT = os.environ.get("CALLOUT_TEST_SPLIT", "") == "1"
IS_WIDE = WORKERS > 1 or IS_SPLIT
OTHER_ROLES = ("scheduler", "archiver", "push")

needs_own_process = pytest.mark.skipif(IS_WIDE, reason="changes constants in the server's process")


@dataclass
class WideServer:
    """A running server of several processes. ``engine`` is a handle of the test's process on its stores."""

    url: str
    engine: Engine
    main: process.Server

    @property
    def ws_url(self) -> str:
        """The URL of the server's WebSockets."""
        return "ws" + self.url.removeprefix("http") + "/v1/ws"


@asynccontextmanager
async def run_wide_server(
    settings: Settings, workers: int = WORKERS, *, is_split: bool = IS_SPLIT
) -> AsyncIterator[WideServer]:
    """Run a server with so many workers on the stores of ``settings``, and with ``is_split`` each other role in a
    process of its own. At the end of the block all processes are stopped in order.
    """
    data = Path(settings.data)
    database = settings.database or f"sqlite:///{data}/callout.db"
    files = settings.files or f"{data}/blobs"
    shared = msgspec.structs.replace(
        settings, database=database, key_file=f"{data}/signing.key", files=files, drain_s=0.0
    )
    roles = ("gateway",) if is_split else settings.roles
    async with AsyncExitStack() as stack:
        main = await _run(stack, data, msgspec.structs.replace(shared, workers=workers, roles=roles))
        shared = msgspec.structs.replace(shared, redis=shared.redis or main.redis_url)
        for role in OTHER_ROLES if is_split else ():
            await _run(stack, data.with_name(f"{data.name}-{role}"), msgspec.structs.replace(shared, roles=(role,)))
        engine = await stack.enter_async_context(open_engine(shared))
        yield WideServer(main.url, engine, main)


async def _run(stack: AsyncExitStack, data: Path, settings: Settings) -> process.Server:
    server = await stack.enter_async_context(process.run_server(data, **_environment_variables(settings)))
    stack.push_async_callback(_stop, server)
    return server


async def _stop(server: process.Server) -> None:
    ended = await server.stop()
    assert ended.code == 0, ended.err


def _environment_variables(settings: Settings) -> dict[str, str]:
    """Return the settings that are not the defaults, as values of environment variables."""
    plain = Settings()
    names = [name for name in Settings.__struct_fields__ if name not in ("data", "port", "zone_areas")]
    changed = {name: getattr(settings, name) for name in names if getattr(settings, name) != getattr(plain, name)}
    return {name: _setting_text(value) for name, value in changed.items()}


def _setting_text(value: Any) -> str:
    return ",".join(value) if isinstance(value, tuple) else f"{value}"
