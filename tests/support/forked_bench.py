"""``python -m bench`` in a process of the fork server (``tests/support/fork_server.py``). The servers that a benchmark
starts are forked too, and pinned to their core after the fork.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import IO, Any, cast

from bench import __main__ as bench_program
from bench.rig import Child, Rig
from tests.support import fork_server, forking

for _name in bench_program.NAMES:
    import_module(f"bench.questions.{_name}")


class ForkedProcess:
    """A process that the fork server has started for a benchmark, with the methods of ``subprocess.Popen``."""

    stdin = None

    def __init__(
        self, program: str, arguments: Sequence[str], env: dict[str, str], errors: IO[bytes], cwd: Path | None = None
    ) -> None:
        read_end, write_end = os.pipe()
        with open(os.devnull, "rb") as nothing:
            streams = (nothing.fileno(), write_end, errors.fileno())
            self._connection = fork_server.send_request(forking.own_path, program, arguments, cwd, env, *streams)
        os.close(write_end)
        self.stdout = os.fdopen(read_end, "rb")
        self._replies = self._connection.makefile("rb")
        self.pid = int(self._replies.readline())
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """Return the exit code; None while the process runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code when the process has ended. Raises TimeoutExpired after ``timeout`` seconds."""
        if self.returncode is None:
            with selectors.DefaultSelector() as selector:
                selector.register(self._connection, selectors.EVENT_READ)
                if not selector.select(timeout):
                    raise subprocess.TimeoutExpired("callout", timeout or 0)
            self.returncode = int(self._replies.readline())
        return self.returncode

    def terminate(self) -> None:
        """Send SIGTERM."""
        os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)


def spawn(
    rig: Rig,
    name: str,
    command: Sequence[str],
    *,
    core: int | None,
    env: dict[str, str] | None = None,
    cwd: Path | None = None,
    **more: Any,
) -> Child:
    """Do the same as ``Rig.spawn``, and fork the process if the fork server knows its program."""
    if (program := fork_server.COMMANDS.get(tuple(command[:3]))) is None:  # type: ignore[arg-type]
        return _spawn(rig, name, command, core=core, env=env, cwd=cwd, **more)
    error_file = rig.folder / f"{name}-{time.monotonic_ns()}.log"
    with error_file.open("wb") as errors:
        process = ForkedProcess(program, command[3:], {**os.environ, **(env or {})}, errors, cwd)
    if core is not None and hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(process.pid, {core})
    child = Child(name, cast("subprocess.Popen[bytes]", process), error_file)
    rig.on_exit(child.stop)
    return child


_spawn = Rig.spawn


def main() -> None:
    """Run a benchmark with the arguments of this process."""
    Rig.spawn = spawn  # type: ignore[method-assign]
    sys.exit(bench_program.main(sys.argv[1:]))
