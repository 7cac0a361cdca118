"""The data directory: one server uses a data directory at a time, and only the owner can read it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.process.datadir import CannotStart, create_directory, hold_lock, process_start_text, read_locking_process


def test_a_second_server_is_refused_with_the_first_named(tmp_path: Path) -> None:
    """A second server on the same data directory is refused; the message names the process and the URL of the first
    server.
    """
    with hold_lock(tmp_path) as lock:
        lock.set_url("http://127.0.0.1:8700")
        with pytest.raises(CannotStart, match=rf"in use by process {os.getpid()} serving http://127.0.0.1:8700"):
            hold_lock(tmp_path).__enter__()


def test_a_file_is_no_data_directory(tmp_path: Path) -> None:
    """If the path of the data directory is a file, `create_directory` is refused with "not a directory"."""
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match="not a directory"):
        create_directory(tmp_path / "file")


def test_a_directory_inside_a_file_cannot_be_made(tmp_path: Path) -> None:
    """If the data directory cannot be created, the error message contains the reason of the operating system."""
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match=r"cannot be made: Not a directory"):
        create_directory(tmp_path / "file" / "below")


def test_only_its_owner_can_read_a_new_directory(tmp_path: Path) -> None:
    """A new data directory has mode 0700 from the first instant, because it will contain a signing key and personal
    data.
    """
    assert create_directory(tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_an_existing_directory_keeps_its_mode_and_files(tmp_path: Path) -> None:
    """Locking an existing directory changes neither its mode nor its files."""
    tmp_path.chmod(0o755)
    (tmp_path / "notes.txt").write_text("mine")
    with hold_lock(tmp_path):
        pass
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_released_directory_can_be_locked_again(tmp_path: Path) -> None:
    """After the block of `hold_lock` no process is recorded in the directory, and it can be locked again."""
    with hold_lock(tmp_path):
        assert read_locking_process(tmp_path) is not None
    assert read_locking_process(tmp_path) is None
    with hold_lock(tmp_path):
        pass


def test_a_killed_process_leaves_no_lock(tmp_path: Path) -> None:
    """After SIGKILL of the process with the lock the directory can be locked again: a stale lock file has no effect."""
    program = (
        "import sys, pathlib, engine.process.datadir as d\n"
        "with d.hold_lock(pathlib.Path(sys.argv[1])) as lock:\n"
        "    lock.set_url('http://x'); print('held', flush=True); sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        locking_process = read_locking_process(tmp_path)
        assert locking_process is not None
        assert (locking_process.pid, locking_process.url) == (other.pid, "http://x")
        with pytest.raises(CannotStart, match=f"in use by process {other.pid}"):
            hold_lock(tmp_path).__enter__()
        other.kill()
    assert read_locking_process(tmp_path) is None
    with hold_lock(tmp_path):
        pass


def test_the_start_identifies_a_process() -> None:
    """The text that identifies the start of a process never changes, differs between processes, and is None for a
    process that does not exist.
    """
    assert process_start_text(os.getpid()) == process_start_text(os.getpid())
    assert process_start_text(os.getpid()) != process_start_text(1)
    assert process_start_text(2**22 + 1) is None
