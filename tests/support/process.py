"""Run ``callout`` in a process of its own, as an operator does: with signals, an exit code, stdout and stderr."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from engine.process import embedded
from tests.support.fork_server import ForkedProcess, fork_server, start_process
from tests.support.migrated import create_data_dir

TIMEOUT_S = 30.0


@dataclass
class FinishedCommand:
    """The exit code and the output of a process that has ended."""

    code: int
    out: str
    err: str

    @property
    def error_line(self) -> str:
        """Return the error message without its prefix ``callout: ``. Assert that it is one line, that stdout is empty
        and that there is no traceback.
        """
        lines = [line for line in self.err.splitlines() if line.startswith("callout: ")]
        assert len(lines) == 1, self.err
        assert "Traceback" not in self.err
        assert self.out == ""
        return lines[0].removeprefix("callout: ")


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment without its ``CALLOUT_*`` variables, plus one such variable for each of
    ``settings`` (``port="0"`` sets ``CALLOUT_PORT``).
    """
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("CALLOUT_")}
    return inherited | {f"CALLOUT_{name.upper()}": value for name, value in settings.items()}


async def start_callout(
    *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, stderr: int | None = None
) -> ForkedProcess:
    """Start ``callout`` with these arguments and an empty stdin. ``stderr`` is a descriptor; without it stderr is a
    pipe, as stdout is.
    """
    environ = environment() if env is None else env
    return await start_process(fork_server().path, "callout", *arguments, cwd=cwd, env=environ, stderr=stderr)


async def run_callout(
    *arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None, within_s: float = TIMEOUT_S
) -> FinishedCommand:
    """Run ``callout`` with these arguments until the process ends, at most ``within_s`` seconds."""
    return await wait_for_command(await start_callout(*arguments, cwd=cwd, env=env), within_s)


async def wait_for_command(
    process: ForkedProcess | asyncio.subprocess.Process, within_s: float = TIMEOUT_S
) -> FinishedCommand:
    """Wait until a started process ends, at most ``within_s`` seconds. Kill it if it does not."""
    try:
        async with asyncio.timeout(within_s):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return FinishedCommand(process.returncode, out.decode(), err.decode())


@dataclass
class Server:
    """A running ``callout serve``. ``hello`` is the decoded JSON line that the server printed when it was ready."""

    process: ForkedProcess
    hello: dict[str, Any]
    data: Path
    log: Path

    @property
    def url(self) -> str:
        """Return the URL at which the server accepts requests."""
        return str(self.hello["serving"])

    @property
    def valkey(self) -> embedded.ServerState:
        """Return the state of the server's embedded Valkey, read from the state file in the data directory."""
        state = embedded.read_state(self.data / "valkey")
        assert state is not None
        return state

    @property
    def redis_url(self) -> str:
        """Return the URL of the server's embedded Valkey."""
        return f"redis://:{self.valkey.password}@127.0.0.1:{self.valkey.port}/0"

    def log_text(self) -> str:
        """Return everything that the server has written to stderr."""
        return self.log.read_text()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> FinishedCommand:
        """Send a signal to the server and wait until its process has ended."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.wait_for_end()

    async def wait_for_end(self) -> FinishedCommand:
        """Wait until the process has ended. ``out`` is what the server wrote to stdout after the line ``hello``."""
        async with asyncio.timeout(TIMEOUT_S):
            rest = await self.process.stdout.read()
            code = await self.process.wait()
        return FinishedCommand(code, rest.decode(), self.log_text())


@asynccontextmanager
async def run_server(data: Path, *flags: str, port: int = 0, **settings: str) -> AsyncIterator[Server]:
    """Run ``callout serve`` on the data directory ``data``; a new one begins with a database that has the schema. At
    the end of the block, stop the server and its Valkey, even after an error.
    """
    if not data.exists():
        create_data_dir(data)
    log = data.with_suffix(".log")
    arguments = ("serve", "--data", str(data), "--port", str(port), *flags)
    with log.open("ab") as errors:
        process = await start_callout(*arguments, cwd=data.parent, env=environment(**settings), stderr=errors.fileno())
    try:
        async with asyncio.timeout(TIMEOUT_S):
            line = await process.stdout.readline()
        assert line, log.read_text()
        yield Server(process, msgspec.json.decode(line), data, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await _stop_valkey(data)


async def _stop_valkey(data: Path) -> None:
    """Stop the embedded Valkey of a data directory, if it runs."""
    state = embedded.read_state(data / "valkey")
    if state is not None:
        await embedded.EmbeddedValkey(data / "valkey", state, None).stop()
