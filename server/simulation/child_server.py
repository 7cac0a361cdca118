"""A server of one's own: ``callout serve`` as a process beside, so that it and the load share no
interpreter.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import msgspec

from engine.process.embedded import Embedded, read_state

START_S = 60.0
READY_S = 15.0
LOOK_EVERY_S = 0.05
STOP_S = 45.0
LAST_BYTES = 16_384


class ChildError(Exception):
    """The server did not start, is not ready, or did not last; the text ends with the last line that it wrote."""


class Errors:
    """What a server writes to stderr. It is kept in a file where that can be written; its end is kept here too, since
    what ends a server may be that nothing can be written.
    """

    def __init__(self, stream: asyncio.StreamReader, log: Path) -> None:
        self._end = b""
        self._reading = asyncio.create_task(self._read(stream, log), name="stderr of the server")

    async def _read(self, stream: asyncio.StreamReader, log: Path) -> None:
        with ExitStack() as stack:
            file = None
            with suppress(OSError):
                log.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(log.open("ab", buffering=0))
            while written := await stream.read(LAST_BYTES):
                self._end = (self._end + written)[-LAST_BYTES:]
                if file:
                    with suppress(OSError):
                        file.write(written)

    async def last_line(self) -> str:
        """The last line of a server that has ended, or of what there is after a while, after ": "; "" for none."""
        await asyncio.wait({self._reading}, timeout=1.0)
        lines = self._end.decode(errors="replace").strip().splitlines()
        return f": {lines[-1].removeprefix('callout: ')}" if lines else ""

    async def close(self) -> None:
        """Read to the end, which comes with that of the server."""
        await asyncio.wait({self._reading}, timeout=1.0)
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class Child:
    """A running server."""

    url: str
    process: asyncio.subprocess.Process
    errors: Errors

    async def ended(self) -> ChildError:
        """Wait until it is gone by itself, and say why."""
        code = await self.process.wait()
        return ChildError(f"the server ended with {code}{await self.errors.last_line()}")


@asynccontextmanager
async def serving(
    data: Path, port: int, *, env: Mapping[str, str], cwd: Path, log: Path, ready_s: float = READY_S
) -> AsyncIterator[Child]:
    """``callout serve`` on ``data`` and ``port``, ready; what it logs goes to the file ``log``. Stopped however this
    ends.

    It has a process group of its own: a Ctrl-C at the terminal is for the parent, who stops it in order.
    Raises ChildError, also in the place of what the block raises where the server has ended by itself.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "server.cli.exit_with_parent", "serve", "--data", str(data), "--port", str(port)),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
    )
    assert process.stdout
    assert process.stderr
    errors = Errors(process.stderr, log)
    try:
        child = Child(await _announced_url(process.stdout, errors), process, errors)
        try:
            await _ready(child, ready_s)
            yield child
        except Exception as error:
            if process.returncode is None or isinstance(error, ChildError):
                raise
            raise await child.ended() from error
        finally:
            await asyncio.shield(_stop(process))
            await asyncio.shield(_stop_valkey(data))
    finally:
        await asyncio.shield(_stop(process))
        await asyncio.shield(errors.close())


async def _announced_url(stdout: asyncio.StreamReader, errors: Errors) -> str:
    try:
        async with asyncio.timeout(START_S):
            line = await stdout.readline()
        announced = msgspec.json.decode(line, type=dict[str, Any])
        if "serving" in announced:
            return str(announced["serving"])
    except TimeoutError:
        raise ChildError(f"the server did not start in {START_S:g} s{await errors.last_line()}") from None
    except msgspec.DecodeError:
        pass
    raise ChildError(f"the server did not start{await errors.last_line()}")


async def _ready(child: Child, within_s: float) -> None:
    """Wait until the server is ready. Raises ChildError with its problems, or where it has ended."""
    problems: list[str] = []
    end = time.monotonic() + within_s
    async with httpx.AsyncClient(base_url=child.url, timeout=within_s, trust_env=False) as client:
        while time.monotonic() < end:
            with suppress(httpx.TransportError):
                found = (await client.get("/readyz")).json()
                if found["ready"]:
                    return
                problems = found["problems"]
            if child.process.returncode is not None:
                raise await child.ended()
            await asyncio.sleep(LOOK_EVERY_S)
    raise ChildError(f"the server is not ready: {'; '.join(problems) or 'it does not answer'}")


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


def own_environment(**settings: str) -> dict[str, str]:
    """The environment without any ``CALLOUT_*`` of the caller's, with ``settings`` (names without the
    prefix).
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALLOUT_")}
    return kept | {f"CALLOUT_{name.upper()}": value for name, value in settings.items()}


async def admin_token(data: Path, *, cwd: Path, env: Mapping[str, str]) -> str:
    """An administrator's access token under the key of ``data``, by ``callout token``. Raises ChildError."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from server.cli.main import main; main()"),
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
