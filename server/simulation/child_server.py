"""``callout serve`` as a child process, so that the server and the load do not share an interpreter."""

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
POLL_S = 0.05
STOP_S = 45.0
LAST_BYTES = 16_384


class ChildError(Exception):
    """The server did not start, is not ready, or has ended. The text ends with the last line that it wrote."""


class StderrReader:
    """Reads the stderr of a server and writes it to a file. The last bytes also stay in memory, because a full disk may
    be what ended the server.
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
        """: " and the last line that the server wrote; "" if it wrote none. Waits up to 1 s for the end of stderr."""
        await asyncio.wait({self._reading}, timeout=1.0)
        lines = self._end.decode(errors="replace").strip().splitlines()
        return f": {lines[-1].removeprefix('callout: ')}" if lines else ""

    async def close(self) -> None:
        """Stop reading. Waits up to 1 s for the rest of what the server wrote."""
        await asyncio.wait({self._reading}, timeout=1.0)
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class ChildServer:
    """A running server."""

    url: str
    process: asyncio.subprocess.Process
    errors: StderrReader

    async def ended(self) -> ChildError:
        """Wait until the process ends by itself, and return the reason."""
        code = await self.process.wait()
        return ChildError(f"the server ended with exit code {code}{await self.errors.last_line()}")


@asynccontextmanager
async def serving(
    data: Path, port: int, *, env: Mapping[str, str], cwd: Path, log: Path, ready_s: float = READY_S
) -> AsyncIterator[ChildServer]:
    """``callout serve`` on ``data`` and ``port``, ready; its log goes to the file ``log``. However the block ends,
    the server is stopped.

    The server has its own process group: Ctrl-C at the terminal goes to the parent, which then stops the server in
    order. Raises ChildError, also instead of the error of the block if the server has ended by itself.
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
    errors = StderrReader(process.stderr, log)
    try:
        child = ChildServer(await _announced_url(process.stdout, errors), process, errors)
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


async def _announced_url(stdout: asyncio.StreamReader, errors: StderrReader) -> str:
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


async def _ready(child: ChildServer, within_s: float) -> None:
    """Wait until the server is ready. Raises ChildError with its problems, or if it has ended."""
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
            await asyncio.sleep(POLL_S)
    raise ChildError(f"the server is not ready: {'; '.join(problems) or 'it does not respond'}")


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
    """End the Valkey of a server that was killed. The Valkey outlives its server, so that the next start can adopt it,
    but here there may be no next start. Only for a server that had announced itself: if a server was refused, the
    Valkey on its directory belongs to another server.
    """
    state = read_state(data / "valkey")
    if state:
        await Embedded(data / "valkey", state, None).stop()


def clean_environment(**settings: str) -> dict[str, str]:
    """The caller's environment without its ``CALLOUT_*``, plus ``settings`` (names without the prefix)."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("CALLOUT_")}
    return kept | {f"CALLOUT_{name.upper()}": value for name, value in settings.items()}


async def admin_token(data: Path, *, cwd: Path, env: Mapping[str, str]) -> str:
    """An admin's access token, signed by ``callout token`` with the key in ``data``. Raises ChildError."""
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
