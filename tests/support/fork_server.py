"""A process that has imported Callout and forks a new process for each request.

The imports take most of the CPU time of a start, and the tests start about two hundred processes. A forked process is a
process like any other: with its own signals, exit code, stdout, stderr, session and environment. The processes that a
forked demo, replay or benchmark starts are forked too. ``make test-wheel``, ``test_first_hour.py`` and one test of the
demo start the program itself.

One connection to the server's Unix socket stands for one process. The client sends the request as one line of JSON with
the descriptors of stdin, stdout and stderr. The server answers with the pid in one line and, when the process has
ended, with its exit code in another. A request without a program is answered with the list of the running processes.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

MAIN_MODULE = "tests.support.forking"
MAX_REQUEST_BYTES = 256 * 1024
CALLOUT_COMMAND = (sys.executable, "-c", "from server.cli.main import main; main()")
"""``callout`` without the fork server."""
COMMANDS = {
    CALLOUT_COMMAND: "callout",
    (sys.executable, "-m", "server.cli.exit_with_parent"): "exit_with_parent",
    (sys.executable, "-m", "bench.load.archive_worker"): "archive_worker",
}
"""The programs that a demo, a replay or a benchmark starts, by the first three words of their command lines."""


class Request(msgspec.Struct):
    """The program, its arguments, the working directory and the whole environment of a new process."""

    program: str = ""
    arguments: list[str] = []
    cwd: str = ""
    env: dict[str, str] = {}


class ForkServer:
    """A running fork server."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="callout-fork-")
        self.path = str(Path(self._folder.name) / "socket")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path)
            listener.listen(64)
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"from {MAIN_MODULE} import main; main()", str(listener.fileno())],
                pass_fds=[listener.fileno()],
                stdin=subprocess.PIPE,
                cwd=Path(__file__).parents[2],
                start_new_session=True,
            )

    def stop(self) -> None:
        """End the server. Processes that it has forked continue."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()
        self._folder.cleanup()

    def running(self) -> dict[int, list[str]]:
        """Return the program and the arguments of each forked process that has not ended, by its pid."""
        with socket.socket(socket.AF_UNIX) as connection, connection.makefile("rb") as reply:
            connection.connect(self.path)
            connection.sendall(msgspec.json.encode(Request()) + b"\n")
            return msgspec.json.decode(reply.readline(), type=dict[int, list[str]])


@functools.cache
def fork_server() -> ForkServer:
    """Return the fork server of this process."""
    server = ForkServer()
    atexit.register(server.stop)
    return server


# the clients


def send_request(
    path: str, program: str, arguments: Sequence[str], cwd: Path | str | None, env: Mapping[str, str], *streams: int
) -> socket.socket:
    """Send a request with the descriptors of stdin, stdout and stderr. Return the connection of the new process."""
    request = msgspec.json.encode(Request(program, list(arguments), str(cwd or Path.cwd()), dict(env))) + b"\n"
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    socket.send_fds(connection, [request[:1]], list(streams))
    connection.sendall(request[1:])
    return connection


async def start_process(
    path: str,
    program: str,
    *arguments: str,
    cwd: Path | str | None,
    env: Mapping[str, str],
    stderr: int | None = None,
    has_stdin: bool = False,
) -> ForkedProcess:
    """Start a program with these arguments, in a session of its own. Its stdin is empty, or with ``has_stdin`` a pipe
    that stays open as long as this process runs. ``stderr`` is a descriptor; without it stderr is a pipe, as stdout is.
    """
    with contextlib.ExitStack() as stack:
        stdin, held_open = os.pipe() if has_stdin else (os.open(os.devnull, os.O_RDONLY), None)
        stack.callback(os.close, stdin)
        stdout, out = await _open_pipe(stack)
        errors = None
        if stderr is None:
            errors, stderr = await _open_pipe(stack)
        connection = send_request(path, program, arguments, cwd, env, stdin, out, stderr)
    replies, writer = await asyncio.open_unix_connection(sock=connection)
    return ForkedProcess(int(await replies.readline()), stdout, errors, replies, writer, held_open)


async def _open_pipe(stack: contextlib.ExitStack) -> tuple[asyncio.StreamReader, int]:
    """Return the reader of a new pipe and the descriptor of its other end, which ``stack`` closes."""
    read_end, write_end = os.pipe()
    stack.callback(os.close, write_end)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
    )
    return reader, write_end


class ForkedProcess:
    """A process that a fork server has started, with the methods of ``asyncio.subprocess.Process``."""

    def __init__(
        self,
        pid: int,
        stdout: asyncio.StreamReader,
        stderr: asyncio.StreamReader | None,
        replies: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        stdin: int | None,
    ) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self._end = asyncio.create_task(self._read_exit_code(replies, writer, stdin))

    @property
    def returncode(self) -> int | None:
        """Return the exit code, minus the number of the signal that ended the process, or None while it runs."""
        return self._end.result() if self._end.done() else None

    async def wait(self) -> int:
        """Wait until the process has ended, and return its exit code."""
        return await asyncio.shield(self._end)

    async def communicate(self) -> tuple[bytes, bytes]:
        """Return stdout and stderr when the process has ended."""
        out, err = await asyncio.gather(self.stdout.read(), self.stderr.read() if self.stderr else _no_output())
        await self.wait()
        return out, err

    def send_signal(self, number: int) -> None:
        """Send a signal. Do nothing if the process has ended."""
        if self.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)

    async def _read_exit_code(
        self, replies: asyncio.StreamReader, writer: asyncio.StreamWriter, stdin: int | None
    ) -> int:
        line = await replies.readline()
        writer.close()
        if stdin is not None:
            os.close(stdin)
        assert line, "the fork server has ended"
        return int(line)


async def _no_output() -> bytes:
    return b""
