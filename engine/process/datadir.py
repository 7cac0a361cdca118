"""The data directory: made for its owner alone, and used by one server at a time.

The lock is an ``flock``: the kernel drops it with its holder, however that one dies, so there is no stale
lock to break (a pid file would need a guess about whether the pid is still the same program). What stands
in the file is only for people: who holds it, and where it answers.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ROOM_BYTES = 64 * 1024
"""Less room than this is none: the first rows and commands would not fit."""


class CannotStart(Exception):
    """The program cannot run as it was asked to; the text is one line for a person. Exit code 2."""


@dataclass(frozen=True, slots=True)
class Holder:
    """Who uses the directory: process id, and the URL once it serves."""

    pid: int
    url: str = ""


class Lock:
    """The directory, held. ``tell`` writes where the holder answers, for whoever is refused."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.tell("")

    def tell(self, url: str) -> None:
        """Put our pid and ``url`` into the lock file."""
        text = json.dumps({"pid": os.getpid(), "url": url}).encode()
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text, 0)


def create(path: Path) -> Path:
    """Make the directory (0700) where it is missing; one that exists is left as it is. Returns it resolved.

    Raises CannotStart where it is no directory or cannot be written.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise CannotStart(f"{path} is not a directory: give another --data") from None
    except OSError as error:
        raise CannotStart(f"the data directory {path} cannot be made: {error.strerror}") from error
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        raise CannotStart(f"the data directory {path} is not writable for this user")
    return path.resolve()


def full(path: Path) -> str:
    """Why nothing can be written to the directory, in a sentence; empty where there is room for ``ROOM_BYTES``.

    It is tried rather than asked of the file system, which knows nothing of quotas and limits of the process.
    """
    probe = path / f".room.{os.getpid()}"
    try:
        with probe.open("wb", buffering=0) as file:
            written = file.write(b"\0" * ROOM_BYTES)
    except OSError as error:
        return f"nothing can be written to {path}: {error.strerror}"
    finally:
        with suppress(OSError):
            probe.unlink()
    return "" if written == ROOM_BYTES else f"nothing can be written to {path}: No space left on device"


def close_to_others(path: Path, pattern: str) -> None:
    """Files of ours in the directory are for its owner alone (0600), also those that an older Callout left open."""
    for file in path.glob(pattern):
        with suppress(OSError):
            if file.stat().st_mode & 0o077:
                file.chmod(0o600)


@contextmanager
def hold(path: Path) -> Iterator[Lock]:
    """Make and lock the directory for as long as the block runs.

    Raises CannotStart where nothing can be written to it, and, naming the holder, while another process has it.
    """
    path = create(path)
    if why := full(path):
        raise CannotStart(f"{why}: make room, or give another --data")
    fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise CannotStart(_refusal(path)) from None
        yield Lock(fd)
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def holder(path: Path) -> Holder | None:
    """Who says that he holds the directory, if his process lives. Takes no lock: asking must not refuse a
    server that starts in the same instant.
    """
    try:
        told = json.loads((path / "lock").read_bytes())
        pid, url = int(told["pid"]), str(told["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return Holder(pid, url) if birth(pid) is not None else None


def birth(pid: int) -> str | None:
    """When process ``pid`` was started, in words that another process given the same number later does not
    share; None where there is none (or only its corpse).
    """
    with suppress(OSError):
        # Field 22 of stat(5), counted after the name, which may itself hold spaces and brackets.
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state == "Z" else f"{_boot()}:{rest[18]}"
    if Path("/proc/self").exists():
        return None
    shown = subprocess.run(
        ["ps", "-o", "lstart=,stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return None if not shown or shown.split()[-1].startswith("Z") else shown.rpartition(" ")[0].strip()


def _boot() -> str:
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _refusal(path: Path) -> str:
    held = holder(path)
    by = f"process {held.pid}" if held else "another process"
    at = f" serving {held.url}" if held and held.url else ""
    return f"{path} is in use by {by}{at}: stop it, or give another --data"
