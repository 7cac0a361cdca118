"""Put the temporary files of tests in memory. Databases sync each commit, which takes milliseconds on a disk and almost
no time in memory. The sync matters only after a power cut, which these tests do not simulate.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

SHARED_MEMORY = Path("/dev/shm")
MIN_FREE_BYTES = 4 * 2**30
"""If less memory is free, the temporary files are on the disk."""


def use_memory_for_files() -> None:
    """Let temporary files be in memory, for this process and those that it starts, unless ``TMPDIR`` is set."""
    if "TMPDIR" in os.environ or not _has_free_memory():
        return
    os.environ["TMPDIR"] = tempfile.tempdir = str(SHARED_MEMORY)


def _has_free_memory() -> bool:
    try:
        space = os.statvfs(SHARED_MEMORY)
        facts = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
        free_bytes = min(space.f_bavail * space.f_frsize, int(facts["MemAvailable"].split()[0]) * 1024)
    except (OSError, LookupError, ValueError):
        return False
    return free_bytes >= MIN_FREE_BYTES and os.access(SHARED_MEMORY, os.W_OK)
