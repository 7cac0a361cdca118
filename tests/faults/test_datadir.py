"""The data directory: one server at a time, made for its owner alone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from engine.process.datadir import CannotStart, birth, create, hold, holder


def test_a_second_holder_is_refused_and_told_who_has_it(tmp_path: Path) -> None:
    """Two servers never use one directory, and the second names the first's process and URL."""
    with hold(tmp_path) as lock:
        lock.tell("http://127.0.0.1:8700")
        with pytest.raises(CannotStart, match=rf"in use by process {os.getpid()} serving http://127.0.0.1:8700"):
            hold(tmp_path).__enter__()


def test_a_file_is_no_data_directory(tmp_path: Path) -> None:
    """A path that is a file is refused in words."""
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match="not a directory"):
        create(tmp_path / "file")


def test_a_directory_inside_a_file_cannot_be_made(tmp_path: Path) -> None:
    """What the system refuses is told with its reason."""
    (tmp_path / "file").touch()
    with pytest.raises(CannotStart, match=r"cannot be made: Not a directory"):
        create(tmp_path / "file" / "below")


def test_a_new_directory_is_its_owners_alone(tmp_path: Path) -> None:
    """It will hold a signing key and everybody's data: 0700 from the first instant."""
    assert create(tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700


def test_an_old_directory_and_its_other_files_are_left_alone(tmp_path: Path) -> None:
    """Locking changes neither the mode nor the files that are there."""
    tmp_path.chmod(0o755)
    (tmp_path / "notes.txt").write_text("mine")
    with hold(tmp_path):
        pass
    assert tmp_path.stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_released_directory_can_be_held_again(tmp_path: Path) -> None:
    """The lock ends with its block and names nobody afterwards."""
    with hold(tmp_path):
        assert holder(tmp_path) is not None
    assert holder(tmp_path) is None
    with hold(tmp_path):
        pass


def test_a_killed_holder_leaves_no_lock(tmp_path: Path) -> None:
    """SIGKILL frees the directory: what stands in the lock file then counts for nothing."""
    program = (
        "import sys, pathlib, engine.process.datadir as d\n"
        "with d.hold(pathlib.Path(sys.argv[1])) as lock:\n"
        "    lock.tell('http://x'); print('held', flush=True); sys.stdin.read()\n"
    )
    other = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with other:
        assert other.stdout
        assert other.stdout.readline() == b"held\n"
        found = holder(tmp_path)
        assert found is not None
        assert (found.pid, found.url) == (other.pid, "http://x")
        with pytest.raises(CannotStart, match=f"in use by process {other.pid}"):
            hold(tmp_path).__enter__()
        other.kill()
    assert holder(tmp_path) is None
    with hold(tmp_path):
        pass


def test_a_birth_tells_processes_apart() -> None:
    """It stays the same for one process, and is nothing for none."""
    assert birth(os.getpid()) == birth(os.getpid())
    assert birth(os.getpid()) != birth(1)
    assert birth(2**22 + 1) is None
