"""A process that has imported Callout and forks a new ``callout`` process for each request.

The imports take most of the CPU time of a start, and the tests start about a hundred processes. A forked process is a
process like any other: with its own signals, exit code, stdout, stderr, session and environment. ``test_demo.py``,
``test_replay.py`` and ``make test-wheel`` start ``callout`` without it.

One connection to the server's Unix socket stands for one process. The client sends the request as one line of JSON with
the descriptors of stdin, stdout and stderr. The server answers with the pid in one line and, when the process has
ended, with its exit code in another.
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
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import cast

import msgspec

MAX_REQUEST_BYTES = 256 * 1024


class Request(msgspec.Struct):
    """The arguments, the working directory and the whole environment of a new process."""

    arguments: list[str]
    cwd: str
    env: dict[str, str]


class ForkServer:
    """A running fork server."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="callout-fork-")
        self._path = str(Path(self._folder.name) / "socket")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(self._path)
            listener.listen(64)
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(listener.fileno())],
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

    async def start(
        self, *arguments: str, cwd: Path | None, env: Mapping[str, str], stderr: int | None = None
    ) -> ForkedProcess:
        """Start ``callout`` with these arguments, in a session of its own and with an empty stdin. ``stderr`` is a
        descriptor; without it stderr is a pipe, as stdout is.
        """
        request = msgspec.json.encode(Request(list(arguments), str(cwd or Path.cwd()), dict(env))) + b"\n"
        with contextlib.ExitStack() as stack:
            stdin = os.open(os.devnull, os.O_RDONLY)
            stack.callback(os.close, stdin)
            stdout, out = await _open_pipe(stack)
            errors = None
            if stderr is None:
                errors, stderr = await _open_pipe(stack)
            connection = socket.socket(socket.AF_UNIX)
            connection.connect(self._path)
            socket.send_fds(connection, [request[:1]], [stdin, out, stderr])
            connection.sendall(request[1:])
        replies, writer = await asyncio.open_unix_connection(sock=connection)
        return ForkedProcess(int(await replies.readline()), stdout, errors, replies, writer)


async def _open_pipe(stack: contextlib.ExitStack) -> tuple[asyncio.StreamReader, int]:
    """Return the reader of a new pipe and the descriptor of its other end, which ``stack`` closes."""
    read_end, write_end = os.pipe()
    stack.callback(os.close, write_end)
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(read_end, "rb", buffering=0)
    )
    return reader, write_end


@functools.cache
def fork_server() -> ForkServer:
    """Return the fork server of this process."""
    server = ForkServer()
    atexit.register(server.stop)
    return server


class ForkedProcess:
    """A process that a fork server has started, with the methods of ``asyncio.subprocess.Process``."""

    def __init__(
        self,
        pid: int,
        stdout: asyncio.StreamReader,
        stderr: asyncio.StreamReader | None,
        replies: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self.pid = pid
        self.stdout = stdout
        self.stderr = stderr
        self._end = asyncio.create_task(self._read_exit_code(replies, writer))

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

    async def _read_exit_code(self, replies: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
        line = await replies.readline()
        writer.close()
        assert line, "the fork server has ended"
        return int(line)


async def _no_output() -> bytes:
    return b""


def _fork_for_requests(listener: socket.socket) -> Request:
    """Fork a process for each request on ``listener``, until stdin is closed. Return only in a forked process, with the
    request that it must run."""
    listener.setblocking(False)
    wakeup, signalled = socket.socketpair()
    for end in (wakeup, signalled):
        end.setblocking(False)
    signal.set_wakeup_fd(signalled.fileno())
    signal.signal(signal.SIGCHLD, lambda *_: None)
    running: dict[int, socket.socket] = {}
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
                else:
                    connection, _ = listener.accept()
                    request, descriptors = _read_request(connection)
                    pid = os.fork()
                    if not pid:
                        selector.close()
                        for inherited in (listener, wakeup, signalled, connection, *running.values()):
                            inherited.close()
                        _set_up_process(request, descriptors)
                        return request
                    for descriptor in descriptors:
                        os.close(descriptor)
                    connection.sendall(b"%d\n" % pid)
                    running[pid] = connection


def _read_request(connection: socket.socket) -> tuple[Request, list[int]]:
    connection.setblocking(True)
    data, descriptors, _, _ = socket.recv_fds(connection, MAX_REQUEST_BYTES, 3)
    while not data.endswith(b"\n"):
        data += connection.recv(MAX_REQUEST_BYTES)
    return msgspec.json.decode(data, type=Request), descriptors


def _set_up_process(request: Request, descriptors: list[int]) -> None:
    """Make this forked process one like a started ``callout``: its own session, signals, descriptors, environment,
    working directory and arguments.
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
    sys.argv = ["callout", *request.arguments]


def _report_ended(running: dict[int, socket.socket]) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with contextlib.suppress(OSError), running.pop(pid) as connection:
                connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def _import_callout() -> Callable[[], None]:
    """Import what the commands import when they run, and return the function of the ``callout`` script."""
    main = importlib.import_module("server.cli.main")
    importlib.import_module("server.cli.commands").app()
    for name in ("server.serve", "uvloop", "alembic.command", "sqlalchemy.dialects.sqlite.aiosqlite"):
        importlib.import_module(name)
    gc.freeze()
    return cast("Callable[[], None]", main.main)


if __name__ == "__main__":
    callout_main = _import_callout()
    _fork_for_requests(socket.socket(fileno=int(sys.argv[1])))
    callout_main()
