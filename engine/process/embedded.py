"""The embedded Valkey: start it, adopt one that already runs, and stop it. At most one runs on a directory.

Two Valkey processes on one append-only directory would both start, and the next start would load a mixture of their
data. Process ids and state files cannot prevent this: there is a moment between the start of a process and the writing
of its id, and ids are reused. So the Valkey process itself holds the lock: it inherits a locked file descriptor, and
the kernel releases the lock only when Valkey (and any child that rewrites its file) has ended. A Callout process that
gets the lock may start a Valkey. One that does not get the lock adopts the Valkey that runs; the password and the
directory that this Valkey reports prove that it is the right one, never its process id.

Valkey is the leader of a session of its own. So Ctrl-C in a terminal signals only Callout, which then stops Valkey in
order.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec
import redis.asyncio as redis
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from engine.process import valkey_log, valkey_program
from engine.process.datadir import CannotStart, create_directory, process_start_text
from engine.process.loops import raise_if_cancelled

START_TIMEOUT_S = 10.0
"""How long Valkey may take until its first reply. The time that it then takes to load its file has no limit."""
STOP_TIMEOUT_S = 30.0
"""How long Valkey may take to stop after SIGTERM. Then it gets SIGKILL."""
MAX_START_ATTEMPTS = 3
POLL_INTERVAL_S = 0.03
LOG_INTERVAL_S = 2.0
"""The interval between two log lines about the progress of loading."""

Sync = Literal["everysec", "always"]
"""When Valkey syncs its append-only file: once a second, or before each reply."""

log = structlog.get_logger(__name__)


class ServerState(msgspec.Struct, frozen=True):
    """The content of ``server.json``, which describes the embedded Valkey. ``started_at`` is the start time of process
    ``pid``: a later process with the same id has another start time.
    """

    port: int
    password: str
    pid: int = 0
    started_at: str = msgspec.field(name="birth", default="")


class EmbeddedValkey:
    """A handle on a running Valkey. ``adopted`` is true if an earlier Callout process started it."""

    def __init__(self, home: Path, state: ServerState, process: subprocess.Popen[bytes] | None) -> None:
        self.home = home
        self.state = state
        self.adopted = process is None
        self._process = process

    @property
    def url(self) -> str:
        """The URL to connect to, with the password."""
        return f"redis://:{self.state.password}@127.0.0.1:{self.state.port}/0"

    @property
    def pid(self) -> int:
        """The id of the Valkey process."""
        return self.state.pid

    async def wait_until_ended(self) -> None:
        """Wait until the Valkey process has ended, for any reason."""
        while self.is_alive():  # noqa: ASYNC110 - another process has no event to wait for
            await asyncio.sleep(0.25)

    async def stop(self) -> None:
        """Send SIGTERM, so that Valkey syncs its file, and wait until it has ended; after ``STOP_TIMEOUT_S``, send
        SIGKILL.
        """
        signalled = None
        deadline = time.monotonic() + STOP_TIMEOUT_S
        while self.is_alive():
            wanted = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
            if signalled != wanted:
                with suppress(ProcessLookupError):
                    os.kill(self.pid, wanted)
                log.log(20 if wanted == signal.SIGTERM else 40, "valkey_stop", pid=self.pid, signal=wanted.name)
                signalled = wanted
            await asyncio.sleep(POLL_INTERVAL_S)

    def is_alive(self) -> bool:
        """Return whether the Valkey process runs."""
        if self._process is not None:
            return self._process.poll() is None
        return bool(self.state.started_at) and process_start_text(self.state.pid) == self.state.started_at


async def start_or_adopt(data: Path, *, sync: Sync = "everysec") -> EmbeddedValkey:
    """Start a Valkey on the directory ``data``, or adopt the one that still runs there. Return when it answers and has
    loaded its file. ``sync``: when it writes its append-only file to the disk, each second or before each reply.

    Raises CannotStart if there is no Valkey program, if a Valkey runs there and does not answer, or if it does not
    start.
    """
    home = create_directory(create_directory(data) / "valkey")
    deadline = time.monotonic() + START_TIMEOUT_S
    while True:
        raise_if_cancelled()
        lock = _try_lock(home)
        if lock is not None:
            try:
                return await _launch_server(home, lock, sync)
            finally:
                os.close(lock)
        found = await _adopt_server(home, sync)
        if found is not None:
            return found
        if time.monotonic() > deadline:
            state = read_state(home)
            who = f" (pid {state.pid})" if state and state.pid else ""
            raise CannotStart(f"a Valkey{who} still runs on {home} and does not answer: end it, then start again")
        await asyncio.sleep(POLL_INTERVAL_S)


def read_state(home: Path) -> ServerState | None:
    """Return the content of ``server.json`` in ``home``; None if the file is missing or unreadable. The Valkey that it
    describes may have ended.
    """
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode((home / "server.json").read_bytes(), type=ServerState)
    return None


async def _launch_server(home: Path, lock: int, sync: Sync) -> EmbeddedValkey:
    """Start a Valkey that inherits ``lock``; wait until it is ready. Raises CannotStart after ``MAX_START_ATTEMPTS``
    attempts.
    """
    problem = ""
    for _ in range(MAX_START_ATTEMPTS):  # another process may take the free port before Valkey binds it
        state = ServerState(_free_port(), secrets.token_urlsafe(24))
        _write_private_file(home / "valkey.conf", _config_text(state, sync))
        _write_state(home, state)  # before the start: if this process dies right after it, that Valkey can be adopted
        process = _spawn_server(home, lock)
        state = msgspec.structs.replace(state, pid=process.pid, started_at=process_start_text(process.pid) or "")
        _write_state(home, state)
        valkey = EmbeddedValkey(home, state, process)
        try:
            if await _wait_until_ready(valkey):
                log.info("valkey_started", pid=valkey.pid, port=state.port)
                return valkey
        except BaseException:
            await asyncio.shield(valkey.stop())
            raise
        problem = valkey_log.start_problem(home)
        await valkey.stop()
    raise CannotStart(f"the embedded Valkey does not start: {problem}")


def _spawn_server(home: Path, lock: int) -> subprocess.Popen[bytes]:
    with (home / "valkey.log").open("ab") as output:
        return subprocess.Popen(
            [valkey_program.find_binary(), str(home / "valkey.conf")],
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=(lock,),
            umask=0o077,
            env=valkey_program.server_environment(),
        )


async def _adopt_server(home: Path, sync: Sync) -> EmbeddedValkey | None:
    """Return a handle on the Valkey that runs on ``home``; None if no Valkey answers at the port and with the password
    of the state file, or if it uses another directory.
    """
    state = read_state(home)
    if state is None:
        return None
    client = _create_client(state)
    try:
        there = str((await client.config_get("dir")).get("dir"))
        pid = int((await client.info("server"))["process_id"])
        if is_here := os.path.realpath(there) == str(home):  # noqa: ASYNC240 - one stat of a local directory
            await client.config_set("appendfsync", sync)
    except (redis.RedisError, OSError):
        return None
    finally:
        await client.aclose()
    if not is_here:
        return None
    state = msgspec.structs.replace(state, pid=pid, started_at=process_start_text(pid) or "")
    _write_state(home, state)
    valkey = EmbeddedValkey(home, state, None)
    log.warning("valkey_adopted", pid=pid, port=state.port)
    return valkey if await _wait_until_ready(valkey) else None


async def _wait_until_ready(valkey: EmbeddedValkey) -> bool:
    """Wait until Valkey answers and has loaded its file, and log the progress. Return False if the process ended, or if
    it sent no reply for ``START_TIMEOUT_S``.
    """
    client = _create_client(valkey.state)
    started = logged_at = time.monotonic()
    try:
        while valkey.is_alive():
            raise_if_cancelled()
            try:
                info = await client.info("persistence")
                if not info["loading"]:
                    return True
                started = time.monotonic()
                if started - logged_at > LOG_INTERVAL_S:
                    logged_at = started
                    percent, left_s = info.get("loading_loaded_perc"), info.get("loading_eta_seconds")
                    log.info("valkey_loading", percent=percent, left_s=left_s)
            except (redis.RedisError, OSError):
                if time.monotonic() - started > START_TIMEOUT_S:
                    return False
            await asyncio.sleep(POLL_INTERVAL_S)
        return False
    finally:
        await client.aclose()


def _create_client(state: ServerState) -> redis.Redis:
    return redis.Redis(
        host="127.0.0.1",
        port=state.port,
        password=state.password,
        socket_timeout=2.0,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


def _config_text(state: ServerState, sync: Sync) -> str:
    """Return the text of Valkey's configuration file. The password is in this file, which only its owner can read, and
    not on the command line, which every user of the machine can read.
    """
    return "\n".join(
        (
            "bind 127.0.0.1",
            f"port {state.port}",
            f"requirepass {state.password}",
            "appendonly yes",
            f"appendfsync {sync}",
            'save ""',
            "maxmemory-policy noeviction",
            "daemonize no",
            "",
        )
    )


def _write_private_file(path: Path, content: str) -> None:
    """Write a file atomically. At no moment can other users read it."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(content)
    fresh.replace(path)


def _write_state(home: Path, state: ServerState) -> None:
    _write_private_file(home / "server.json", msgspec.json.encode(state).decode())


def _try_lock(home: Path) -> int | None:
    """Return a locked file descriptor; None if another process has the lock."""
    fd = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        return None
    return fd


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
