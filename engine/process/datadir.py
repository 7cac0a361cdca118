"""The data directory: only its owner may read it, and one server at a time uses it.

The lock is an ``flock``. The kernel releases it when the process that has it dies, for any reason, so there is no stale
lock to break (a pid file would need a guess whether the pid still belongs to the same program). The content of the file
is only for people: the id and the URL of that process.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

ORPHANS_WAIT_S = 8.0
"""How long a start waits for the lock if the server that is named in it has been killed: its workers end by themselves
within seconds, and hold the lock until then."""
MIN_FREE_BYTES = 64 * 1024
"""The least free space for a start: with less, the first rows and commands would not fit."""


class CannotStart(Exception):
    """Raised when the program cannot run as requested. The text is one line for a person; the exit code is 2."""


@dataclass(frozen=True, slots=True)
class LockingProcess:
    """The process that has locked the data directory: its id, and its URL ("" if it serves none)."""

    pid: int
    url: str = ""


class DirectoryLock:
    """This process's lock on the data directory. The lock file contains the process's id and URL, for the
    message to a process that is refused.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self.set_url("")

    def set_url(self, url: str) -> None:
        """Write this process's id and ``url`` to the lock file."""
        text = json.dumps({"pid": os.getpid(), "url": url}).encode()
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, text, 0)


def create_directory(path: Path) -> Path:
    """Create the directory (mode 0700) if it is missing; an existing one is not changed. Return its resolved path.

    Raises CannotStart if the path is not a directory or not writable.
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


def write_problem(path: Path) -> str:
    """Return a sentence that says why nothing can be written to the directory; "" if ``MIN_FREE_BYTES`` can be written.

    The check writes a file, because the file system's numbers do not include quotas and limits of the process.
    """
    probe = path / f".room.{os.getpid()}"
    try:
        with probe.open("wb", buffering=0) as file:
            written = file.write(b"\0" * MIN_FREE_BYTES)
    except OSError as error:
        return f"nothing can be written to {path}: {error.strerror}"
    finally:
        with suppress(OSError):
            probe.unlink()
    return "" if written == MIN_FREE_BYTES else f"nothing can be written to {path}: No space left on device"


def make_files_private(path: Path, pattern: str) -> None:
    """Set the mode of matching files to 0600 (only for their owner): an older Callout let others read them."""
    for file in path.glob(pattern):
        with suppress(OSError):
            if file.stat().st_mode & 0o077:
                file.chmod(0o600)


@contextmanager
def hold_lock(path: Path) -> Iterator[DirectoryLock]:
    """Create the directory if it is missing, and hold its lock while the block runs.

    Raises CannotStart if nothing can be written to the directory, or if another process uses it; the text names that
    process.
    """
    path = create_directory(path)
    if why := write_problem(path):
        raise CannotStart(f"{why}: make room, or give another --data")
    fd = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        _take_lock(fd, path)
        yield DirectoryLock(fd)
        os.ftruncate(fd, 0)
    finally:
        os.close(fd)


def _take_lock(fd: int, path: Path) -> None:
    until = time.monotonic() + ORPHANS_WAIT_S
    while True:
        try:
            return fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if read_locking_process(path) is not None or time.monotonic() > until:
                raise CannotStart(_in_use_text(path)) from None
        time.sleep(0.05)


def read_locking_process(path: Path) -> LockingProcess | None:
    """Return the process named in the lock file; None if it is not alive. This function does not try the lock, because
    a server that starts at the same moment could then fail.
    """
    try:
        content = json.loads((path / "lock").read_bytes())
        pid, url = int(content["pid"]), str(content["url"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return LockingProcess(pid, url) if process_start_text(pid) is not None else None


def process_start_text(pid: int) -> str | None:
    """Return a text with the start time of process ``pid``: a later process with the same id has another text. None if
    there is no such process (or only a zombie).
    """
    with suppress(OSError):
        # Field 22 of stat(5), counted after the name, which may contain spaces and brackets.
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if state == "Z" else f"{_boot_id()}:{rest[18]}"
    if Path("/proc/self").exists():
        return None
    shown = subprocess.run(
        ["ps", "-o", "lstart=,stat=", "-p", str(pid)], capture_output=True, text=True, check=False
    ).stdout.strip()
    return None if not shown or shown.split()[-1].startswith("Z") else shown.rpartition(" ")[0].strip()


def _boot_id() -> str:
    """Return the id of this boot of the machine; "" if the system has none."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _in_use_text(path: Path) -> str:
    """Return the message to a process that finds the directory in use."""
    held = read_locking_process(path)
    by = f"process {held.pid}" if held else "another process"
    at = f" serving {held.url}" if held and held.url else ""
    return f"{path} is in use by {by}{at}: stop it, or give another --data"
