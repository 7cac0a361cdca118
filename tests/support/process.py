"""``callout`` as a process, with signals, exit codes and two output streams, as an operator runs it."""

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

from engine.process import embedded

PROGRAM = (sys.executable, "-c", "from server.cli.main import main; main()")
START_S = 30.0


@dataclass
class Ended:
    """The exit code and the output of a command."""

    code: int
    out: str
    err: str

    @property
    def line(self) -> str:
        """The error message. Asserts that it is one line, with nothing on stdout and no traceback."""
        own = [line for line in self.err.splitlines() if line.startswith("callout: ")]
        assert len(own) == 1, self.err
        assert "Traceback" not in self.err
        assert self.out == ""
        return own[0].removeprefix("callout: ")


def environment(**settings: str) -> dict[str, str]:
    """Return this process's environment without any ``CALLOUT_*``, plus ``settings`` (names without the prefix)."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("CALLOUT_")}
    return plain | {f"CALLOUT_{name.upper()}": value for name, value in settings.items()}


async def callout(*arguments: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Ended:
    """Run a command to its end (at most ``START_S``)."""
    process = await asyncio.create_subprocess_exec(
        *PROGRAM,
        *arguments,
        cwd=cwd,
        env=env or environment(),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(START_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ended(process.returncode, out.decode(), err.decode())


@dataclass
class Server:
    """A server process that accepts requests. ``hello`` is the line that announced it."""

    process: asyncio.subprocess.Process
    hello: dict[str, Any]
    data: Path
    log: Path

    @property
    def url(self) -> str:
        return str(self.hello["serving"])

    @property
    def valkey(self) -> embedded.ServerState:
        """Its embedded Valkey, read from the state file in the data directory."""
        state = embedded.read_state(self.data / "valkey")
        assert state is not None
        return state

    @property
    def redis_url(self) -> str:
        return f"redis://:{self.valkey.password}@127.0.0.1:{self.valkey.port}/0"

    def logged(self) -> str:
        """Return its log."""
        return self.log.read_text()

    async def end(self, number: signal.Signals = signal.SIGTERM) -> Ended:
        """Send a signal and wait for the end."""
        if self.process.returncode is None:
            self.process.send_signal(number)
        return await self.ended()

    async def ended(self) -> Ended:
        """Wait for the end. ``out`` is the stdout after the line that announced the server."""
        assert self.process.stdout is not None
        async with asyncio.timeout(START_S):
            rest = await self.process.stdout.read()
            code = await self.process.wait()
        return Ended(code, rest.decode(), self.logged())


@asynccontextmanager
async def serving(data: Path, *flags: str, port: int = 0, **settings: str) -> AsyncIterator[Server]:
    """Run ``callout serve`` on ``data``. Neither the server nor its Valkey outlives the block, even after an error."""
    log = data.with_suffix(".log")
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            *PROGRAM,
            *("serve", "--data", str(data), "--port", str(port), *flags),
            cwd=data.parent,
            env=environment(**settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=errors,
            start_new_session=True,
        )
    assert process.stdout is not None
    try:
        async with asyncio.timeout(START_S):
            line = await process.stdout.readline()
        assert line, log.read_text()
        yield Server(process, msgspec.json.decode(line), data, log)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
        await _stop_valkey(data)


async def _stop_valkey(data: Path) -> None:
    state = embedded.read_state(data / "valkey")
    if state is not None:
        await embedded.EmbeddedValkey(data / "valkey", state, None).stop()
