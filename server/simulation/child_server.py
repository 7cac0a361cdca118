"""Run ``callout serve`` as a child process, so that the server and the load do not share an interpreter."""

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

from engine.process.embedded import EmbeddedValkey, read_state

START_TIMEOUT_S = 60.0
READY_TIMEOUT_S = 15.0
POLL_S = 0.05
STOP_TIMEOUT_S = 45.0
MAX_STDERR_BYTES = 16_384


class ChildError(Exception):
    """Raised if the server does not start, is not ready in time, or ends. The error's text ends with the last line that
    the server wrote to stderr.
    """


class StderrReader:
    """A task that reads the stderr of a server and writes it to a file. The last bytes are also stored in memory,
    because the server may have ended for the reason that the disk is full.
    """

    def __init__(self, stream: asyncio.StreamReader, log: Path) -> None:
        self._last_bytes = b""
        self._read_task = asyncio.create_task(self._read_stderr(stream, log), name="stderr of the server")

    async def _read_stderr(self, stream: asyncio.StreamReader, log: Path) -> None:
        with ExitStack() as stack:
            file = None
            with suppress(OSError):
                log.parent.mkdir(parents=True, exist_ok=True)
                file = stack.enter_context(log.open("ab", buffering=0))
            while written := await stream.read(MAX_STDERR_BYTES):
                self._last_bytes = (self._last_bytes + written)[-MAX_STDERR_BYTES:]
                if file:
                    with suppress(OSError):
                        file.write(written)

    async def last_line(self) -> str:
        """Return ": " and the last line of stderr; "" if there is none. Wait up to 1 s for the end of stderr."""
        await asyncio.wait({self._read_task}, timeout=1.0)
        lines = self._last_bytes.decode(errors="replace").strip().splitlines()
        return f": {lines[-1].removeprefix('callout: ')}" if lines else ""

    async def close(self) -> None:
        """Stop reading. Before that, wait up to 1 s for the rest of stderr."""
        await asyncio.wait({self._read_task}, timeout=1.0)
        self._read_task.cancel()
        await asyncio.gather(self._read_task, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class ChildServer:
    """A running child server: its URL, its process, and the reader of its stderr."""

    url: str
    process: asyncio.subprocess.Process
    stderr: StderrReader

    async def wait_for_end(self) -> ChildError:
        """Wait until the process ends by itself. Return the error with the reason."""
        code = await self.process.wait()
        return ChildError(f"the server ended with exit code {code}{await self.stderr.last_line()}")


@asynccontextmanager
async def run_child(
    data: Path, port: int, *, env: Mapping[str, str], cwd: Path, log: Path, ready_s: float = READY_TIMEOUT_S
) -> AsyncIterator[ChildServer]:
    """Start ``callout serve`` on ``data`` and ``port``, yield the ready server, and always stop it after the block.

    The server's stderr is written to the file ``log``. The server has its own process group, so Ctrl-C at the terminal
    reaches only the parent process, and the parent then stops the server in order. Raises ChildError if the server is
    not ready within ``ready_s`` seconds. If the server ends by itself and the block then raises an error, ChildError
    replaces that error.
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
        child = ChildServer(await _read_url(process.stdout, errors), process, errors)
        try:
            await _wait_until_ready(child, ready_s)
            yield child
        except Exception as error:
            if process.returncode is None or isinstance(error, ChildError):
                raise
            raise await child.wait_for_end() from error
        finally:
            await asyncio.shield(_stop_process(process))
            await asyncio.shield(_stop_valkey(data))
    finally:
        await asyncio.shield(_stop_process(process))
        await asyncio.shield(errors.close())


async def _read_url(stdout: asyncio.StreamReader, errors: StderrReader) -> str:
    try:
        async with asyncio.timeout(START_TIMEOUT_S):
            line = await stdout.readline()
        announced = msgspec.json.decode(line, type=dict[str, Any])
        if "serving" in announced:
            return str(announced["serving"])
    except TimeoutError:
        raise ChildError(f"the server did not start in {START_TIMEOUT_S:g} s{await errors.last_line()}") from None
    except msgspec.DecodeError:
        pass
    raise ChildError(f"the server did not start{await errors.last_line()}")


async def _wait_until_ready(child: ChildServer, within_s: float) -> None:
    """Wait until the server is ready. Raises ChildError if it has ended, or is not ready within ``within_s``."""
    problems: list[str] = []
    end = time.monotonic() + within_s
    async with httpx.AsyncClient(base_url=child.url, timeout=within_s, trust_env=False) as client:
        while time.monotonic() < end:
            with suppress(httpx.TransportError):
                reply = (await client.get("/readyz")).json()
                if reply["ready"]:
                    return
                problems = reply["problems"]
            if child.process.returncode is not None:
                raise await child.wait_for_end()
            await asyncio.sleep(POLL_S)
    raise ChildError(f"the server is not ready: {'; '.join(problems) or 'it does not respond'}")


async def _stop_process(process: asyncio.subprocess.Process) -> None:
    if process.returncode is not None:
        return
    process.send_signal(signal.SIGTERM)
    try:
        async with asyncio.timeout(STOP_TIMEOUT_S):
            await process.wait()
    except TimeoutError:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _stop_valkey(data: Path) -> None:
    """Stop the Valkey of a server that was killed. A Valkey runs on after its server, so that the next server can adopt
    it, but here there may be no next server. Call this only if the server has printed its URL: a server that refused
    to start did so because another server uses the directory, and the Valkey belongs to that server.
    """
    state = read_state(data / "valkey")
    if state:
        await EmbeddedValkey(data / "valkey", state, None).stop()


def clean_environment(**settings: str) -> dict[str, str]:
    """Return this process's environment without ``CALLOUT_*``, plus ``settings`` (names without the prefix)."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CALLOUT_")}
    return inherited | {f"CALLOUT_{name.upper()}": value for name, value in settings.items()}


async def admin_token(data: Path, *, cwd: Path, env: Mapping[str, str]) -> str:
    """Return an access token of an admin, valid for 24 h, that ``callout token`` signs with the key in ``data``.

    Raises ChildError if the command fails.
    """
    code, output, errors = await run_command(
        *("token", "--role", "admin", "--expires", "24h", "--data", str(data)), cwd=cwd, env=env
    )
    if code != 0:
        raise ChildError(f"callout token: {errors}")
    return output


async def count_ledger_problems(data: Path, *, cwd: Path, env: Mapping[str, str]) -> int | None:
    """Return how many problems ``callout ledger check`` finds in the ledger of ``data``; None if the command cannot
    read it.
    """
    _, output, _ = await run_command("ledger", "check", "--json", "--data", str(data), cwd=cwd, env=env)
    with suppress(msgspec.DecodeError, KeyError):
        return len(msgspec.json.decode(output, type=dict[str, Any])["problems"])
    return None


async def run_command(*arguments: str, cwd: Path, env: Mapping[str, str]) -> tuple[int | None, str, str]:
    """Run ``callout`` with these arguments to its end. Return the exit code, stdout and stderr."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from server.cli.main import main; main()", *arguments),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(env),
        cwd=cwd,
    )
    output, errors = await process.communicate()
    return process.returncode, output.decode(errors="replace").strip(), errors.decode(errors="replace").strip()
