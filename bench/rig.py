"""Start and stop the processes of a benchmark, each on its own processor core.

The server under test has the first core; Redis and the load share the second (DESIGN §9). So each figure is what one
core can do, and a ratio compares servers under equal conditions. Processes are pinned before they start: a server that
pins itself later has already placed its threads and memory elsewhere.
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

from bench.ports import free_port

BENCH_DIR = Path(__file__).parent
BUILD_DIR = BENCH_DIR / ".build"
"""The directory of what a benchmark compiles or installs for itself. It may be deleted at any time."""

START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
_LONG_PING_SETTINGS = {"CALLOUT_PING_S": "600", "CALLOUT_PONG_S": "500"}
_CLI_PROGRAM = "from server.cli.main import main; main()"


class BenchError(Exception):
    """The benchmark cannot run. The text states the reason for the user."""


class PeerUnavailable(Exception):
    """A comparable server cannot run on this machine. The text states what is missing. The benchmark continues without
    that server.
    """


def _choose_cores() -> tuple[int, int]:
    """Return the core of the server and the core of the load: the same one on a machine with one core."""
    allowed = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    return allowed[0], allowed[1 % len(allowed)]


SERVER_CORE, LOAD_CORE = _choose_cores()
ANY_CORE = None


def print_progress(text: str) -> None:
    """Print the current step to standard error, because the preparation takes a while."""
    print(f"· {text}", file=sys.stderr, flush=True)


class Child:
    """A process that the rig started: pinned to a core, with its standard error in a file."""

    def __init__(self, name: str, process: subprocess.Popen[bytes], error_file: Path) -> None:
        self.name = name
        self.process = process
        self.error_file = error_file

    @property
    def pid(self) -> int:
        return self.process.pid

    def cpu_s(self) -> float:
        """Return the processor seconds of all its threads so far (exact where the kernel has a clock for each
        process).
        """
        try:
            return time.clock_gettime((~self.pid << 3) | 2)
        except OSError:
            return cpu_s_from_stat(self.pid)

    async def wait_until_idle(self) -> None:
        """Wait until the process is nearly idle, so that no preparation is measured. Raise BenchError after 20 s."""
        for _ in range(100):
            before = self.cpu_s()
            await asyncio.sleep(0.2)
            if self.cpu_s() - before < 0.01:
                return
        raise BenchError(f"{self.name} does not come to rest")

    def error_log(self) -> str:
        """Return the last 2,000 characters that the process wrote to standard error."""
        return self.error_file.read_text(errors="replace")[-2000:].strip()

    def read_first_line(self) -> dict[str, Any]:
        """Return the line of JSON in which a server writes its address. Raise BenchError when it ends before."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise BenchError(f"{self.name} ended: {self.error_log()}")
        address: dict[str, Any] = json.loads(line)
        return address

    def stop(self) -> None:
        """End the process with SIGTERM, or with SIGKILL if it does not end within 10 s."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            if pipe is not None:
                pipe.close()


def cpu_s_from_stat(pid: int) -> float:
    """Return the processor seconds of a process so far, to a hundredth."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Rig:
    """A temporary directory and the processes of one run. Both end with the ``with`` block, also after an error."""

    def __init__(self) -> None:
        self._stack = contextlib.ExitStack()
        self.folder = Path()

    def __enter__(self) -> Rig:
        _raise_descriptor_limit()
        signal.signal(signal.SIGTERM, _exit_on_signal)
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="callout-bench-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def on_exit(self, action: Callable[[], object]) -> None:
        """Register ``action`` to be called at the end of the run. Later registrations are called first."""
        self._stack.callback(action)

    def error_logs(self) -> list[str]:
        """Return the name of each process with the last 1,500 characters of its standard error."""
        texts = ((log.name.rpartition("-")[0], log.read_text(errors="replace").strip()) for log in self._error_files())
        return [f"{name}: {text[-1500:]}" for name, text in texts if text]

    def _error_files(self) -> list[Path]:
        return sorted(self.folder.glob("*.log"))

    def spawn(
        self,
        name: str,
        command: Sequence[str],
        *,
        core: int | None,
        feed: bytes | None = None,
        env: dict[str, str] | None = None,
        **popen: Any,
    ) -> Child:
        """Start ``command`` on ``core`` (None: any), with ``feed`` as its standard input and the options ``popen`` of
        ``subprocess.Popen``. It ends with the run.
        """
        error_file = self.folder / f"{name}-{time.monotonic_ns()}.log"
        with error_file.open("wb") as sink:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL if feed is None else subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=sink,
                env={**os.environ, **(env or {})},
                **popen,
                preexec_fn=lambda: _prepare_child(core),  # noqa: PLW1509 (no threads yet: the rig starts them)
            )
        child = Child(name, process, error_file)
        self.on_exit(child.stop)
        if feed is not None:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):
                process.stdin.write(feed)
            process.stdin.close()
        return child

    def start_redis(self, *options: str) -> tuple[str, Child]:
        """Start the wheel's Valkey on the load's core, with additional ``options``, and return its URL and process.

        Its append-only file and its environment are those of ``callout serve``. Its background fsync shares the load's
        core. The automatic rewrite of that file is off: the prepared data would start a rewrite in the middle of a
        round, and its fork would be measured.
        """
        from engine.process.valkey_program import find_binary, server_environment

        port, data = free_port(), self.folder / f"valkey-{time.monotonic_ns()}"
        data.mkdir()
        command = [find_binary(), "--port", str(port), "--bind", "127.0.0.1", "--dir", str(data)]
        command += ["--appendonly", "yes", "--appendfsync", "everysec", "--save", "", "--logfile", "valkey.log"]
        command += ["--maxmemory-policy", "noeviction", "--auto-aof-rewrite-percentage", "0", *options]
        child = self.spawn("valkey", command, core=LOAD_CORE, env=server_environment())
        wait_for_port(child, port)
        return f"redis://127.0.0.1:{port}/0", child

    def start_callout(
        self,
        redis: str,
        *,
        roles: str,
        env: dict[str, str] | None = None,
        folder: str = "data",
        port: int = 0,
        **popen: Any,
    ) -> tuple[str, Child]:
        """Start ``callout serve`` on the server's core, with the data directory ``folder``, and return its URL and
        process. The options ``popen`` are those of ``subprocess.Popen``.

        ``port`` 0 means any free port. All limits are off, and the time for a pong is long, because nobody reads these
        sockets while another server is measured.
        """
        command = [sys.executable, "-c", _CLI_PROGRAM, "serve", "--redis", redis, "--port", str(port)]
        command += ["--data", str(self.folder / folder), "--role", roles]
        settings = {"CALLOUT_LIMITS": "off", "CALLOUT_LOG_LEVEL": "warning", **_LONG_PING_SETTINGS, **(env or {})}
        child = self.spawn("callout", command, core=SERVER_CORE, env=settings, **popen)
        return str(child.read_first_line()["serving"]), child

    def compile_c(self, source: Path) -> Path:
        """Compile a C file, if it is newer than its program, and return the program. Raise PeerUnavailable
        without gcc.
        """
        program = BUILD_DIR / source.stem
        if program.exists() and program.stat().st_mtime > source.stat().st_mtime:
            return program
        if shutil.which("gcc") is None:
            raise PeerUnavailable(f"{source.name}: no gcc on this machine")
        BUILD_DIR.mkdir(exist_ok=True)
        compilation = subprocess.run(
            ["gcc", "-O2", "-o", str(program), str(source)], capture_output=True, text=True, check=False
        )
        if compilation.returncode:
            raise PeerUnavailable(f"{source.name} does not compile: {compilation.stderr[-500:]}")
        return program


def _prepare_child(core: int | None) -> None:
    """Pin the child process to its core before its program starts, and let the kernel end it when this process dies."""
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {core})
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _exit_on_signal(*_: object) -> None:
    raise SystemExit("stopped")


def _raise_descriptor_limit() -> None:
    """Raise the limit of open files to the hard limit, because thousands of sockets need as many descriptors."""
    _, hard_limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard_limit, hard_limit))


@contextlib.contextmanager
def pin_to_core(core: int) -> Iterator[None]:
    """Pin this process's main thread to ``core`` while the block runs: it acts as a server or as a load."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def wait_for_port(child: Child, port: int) -> None:
    """Wait until ``child`` listens on ``port``. Raise BenchError when the process ends or does not listen within a
    minute.
    """
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return
        if child.process.poll() is not None:
            break
        time.sleep(0.02)
    raise BenchError(f"{child.name} does not listen: {child.error_log()}")
