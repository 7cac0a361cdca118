"""A server of one's own: ``callout serve`` as a process beside, so that it and the load share no
interpreter.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from engine.store.embedded import Embedded, read_state

START_S = 60.0
STOP_S = 45.0
LAST_BYTES = 16_384


class ChildError(Exception):
    """The server did not start, or did not last; the text ends with the last lines it wrote."""


@dataclass(frozen=True, slots=True)
class Child:
    """A running server. What it logs stands in the file ``log``, from ``begins`` on."""

    url: str
    process: asyncio.subprocess.Process
    log: Path
    begins: int

    async def ended(self) -> ChildError:
        """Wait until it is gone by itself, and say why."""
        code = await self.process.wait()
        return ChildError(f"the server ended with {code}{_last_words(self.log, self.begins)}")


@asynccontextmanager
async def serving(data: Path, port: int, *, env: Mapping[str, str], cwd: Path, log: Path) -> AsyncIterator[Child]:
    """``callout serve`` on ``data`` and ``port``; what it logs goes to the file ``log``. Stopped however this ends.

    It has a process group of its own: a Ctrl-C at the terminal is for the parent, who stops it in order.
    Raises ChildError.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as errors:
        begins = errors.tell()
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "server.city.leash", "serve", "--data", str(data), "--port", str(port)),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            env=dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    try:
        url = await _announced_url(process, log, begins)
        try:
            yield Child(url, process, log, begins)
        finally:
            await asyncio.shield(_stop(process))
            await asyncio.shield(_stop_valkey(data))
    finally:
        await asyncio.shield(_stop(process))


async def _announced_url(process: asyncio.subprocess.Process, log: Path, begins: int) -> str:
    if process.stdout is None:
        raise ChildError("the server has no stdout")
    try:
        async with asyncio.timeout(START_S):
            line = await process.stdout.readline()
        announced = msgspec.json.decode(line, type=dict[str, Any])
        if "serving" in announced:
            return str(announced["serving"])
    except TimeoutError:
        raise ChildError(f"the server did not start in {START_S:g} s{_last_words(log, begins)}") from None
    except msgspec.DecodeError:
        pass
    raise ChildError(f"the server did not start{_last_words(log, begins)}")


async def _stop(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_S):
            await process.wait()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _stop_valkey(data: Path) -> None:
    """End the Valkey of a server that was killed: it outlives that, for the next start to adopt, and there may be
    none. Only of a server that had announced itself; the Valkey of one that was refused is somebody else's.
    """
    state = read_state(data / "valkey")
    if state:
        await Embedded(data / "valkey", state, None).stop()


def _last_words(log: Path, begins: int) -> str:
    """The last line it wrote since ``begins``: of one that cannot start, what it told the operator."""
    with log.open("rb") as file:
        file.seek(max(begins, file.seek(0, os.SEEK_END) - LAST_BYTES))
        words = file.read().decode(errors="replace").strip().splitlines()[-1:]
    return "".join(f": {word.removeprefix('callout: ')}" for word in words)


def own_environment(**settings: str) -> dict[str, str]:
    """The environment without any ``CALLOUT_*`` of the caller's, with ``settings`` (names without the
    prefix).
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALLOUT_")}
    return kept | {f"CALLOUT_{name.upper()}": value for name, value in settings.items()}


async def admin_token(data: Path, *, cwd: Path, env: Mapping[str, str]) -> str:
    """An administrator's access token under the key of ``data``, by ``callout token``. Raises ChildError."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from server.cli import main; main()"),
        *("token", "--role", "admin", "--expires", "24h", "--data", str(data)),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(env),
        cwd=cwd,
    )
    output, errors = await process.communicate()
    if process.returncode != 0:
        raise ChildError(f"callout token: {errors.decode(errors='replace').strip()}")
    return output.decode().strip()
