"""The world of a run: one or two Valkeys, a proxy in front of them, a database, and `callout serve` in a process of its
own. A nemesis uses its methods.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path

from engine.process.settings import Settings
from tests.support import valkey
from tests.support.process import Server, run_server
from tests.support.proxy import Proxy

HAS_LEVELS = "durability" in Settings.__struct_fields__
"""Whether this version has acknowledgement levels."""
LEVELS = ("fast", "replica", "aof", "sql") if HAS_LEVELS else ("fast",)
OPTIONS_OF_LEVEL = {"aof": ("--appendfsync", "always")}


class Valkey:
    """One Valkey with a folder of its own. It keeps its port when it is started again."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options, self.port = folder, options, valkey.free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir()

    def start(self, *more: str) -> None:
        """Start it on its folder, and wait until it answers."""
        self.process, _ = valkey.start_server(self.folder, *self.options, *more, port=self.port)

    def kill(self) -> None:
        """Kill it, if it runs, and wait until it has ended."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    @property
    def pid(self) -> int:
        """Return the id of its process."""
        assert self.process is not None
        return self.process.pid


class World:
    """What runs. ``valkeys`` are the primary and its replica, if there is one. The server connects to ``proxy``."""

    def __init__(self, folder: Path, database: Path, level: str) -> None:
        self.folder, self.level, self.data = folder, level, folder / "data"
        self.valkeys: list[Valkey] = []
        self.proxy = Proxy("redis://127.0.0.1:1")
        self.server: Server | None = None
        self.port = valkey.free_port()
        self.database_url: str | None = None
        self._servers = AsyncExitStack()
        self._template = database

    @property
    def url(self) -> str:
        """Return the address of the server."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def primary(self) -> Valkey:
        """Return the Valkey to which the proxy leads."""
        return next(each for each in self.valkeys if each.port == self.proxy.target_port)

    def settings(self) -> Settings:
        """Return the settings with which the checker opens the same database."""
        return Settings(data=str(self.data), redis=self.primary.url, database=self.database_url)

    async def start_server(self) -> None:
        """Start `callout serve` on the same data directory and port as before."""
        more = {"durability": self.level} if HAS_LEVELS else {}
        if self.database_url:
            more["database"] = self.database_url
        flags = ("--redis", self.proxy.url)
        running = run_server(self.data, *flags, port=self.port, limits="off", drain_s="0.2", **more)
        self.server = await self._servers.enter_async_context(running)

    async def kill_server(self) -> None:
        """Kill the server (SIGKILL), and wait until it has ended."""
        if self.server is not None:
            if self.server.process.returncode is None:
                self.server.process.kill()
            await self.server.process.wait()
            self.server = None
        await self._servers.aclose()
        self._servers = AsyncExitStack()

    async def stop_server(self) -> None:
        """Stop the server in order (SIGTERM)."""
        if self.server is not None:
            self.server.process.terminate()
            await self.server.process.wait()
            await self.kill_server()

    async def open(self, *options: str) -> None:
        """Start Valkey and the server."""
        self.data.mkdir()
        if not self.database_url:
            shutil.copyfile(self._template, self.data / "callout.db")
            os.chmod(self.data / "callout.db", 0o600)
        first = Valkey(self.folder / "valkey", *OPTIONS_OF_LEVEL.get(self.level, ()), *options)
        self.valkeys.append(first)
        first.start()
        self.proxy.set_target(first.url)
        await self.proxy.__aenter__()
        await self.start_server()

    async def close(self) -> None:
        """End everything."""
        await self.kill_server()
        with suppress(AssertionError):
            await self.proxy.__aexit__()
        for each in self.valkeys:
            each.kill()


@asynccontextmanager
async def open_world(folder: Path, database: Path, level: str = "fast", *options: str) -> AsyncIterator[World]:
    """Run a world while the block runs. ``database`` is a migrated SQLite file; ``options`` are those of Valkey."""
    world = World(folder, database, level)
    try:
        await world.open(*options)
        yield world
    finally:
        await world.close()
