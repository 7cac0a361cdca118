"""What the log of the embedded Valkey says about a start that failed."""

from __future__ import annotations

import json
from pathlib import Path

STARTING, INITIALIZED = "is starting", "Server initialized"
"""Valkey logs these when its process begins, and when only the reading of its file is left to do."""


def start_problem(home: Path) -> str:
    """Return why the Valkey of the directory ``home`` did not start, for an error message: the last line of its log. If
    it ended while it read its append-only file, the message also says what the operator can do.
    """
    log, folder = home / "valkey.log", home / "appendonlydir"
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    problem = f"{json.dumps(lines[-1]) if lines else 'it said nothing'} (log: {log})"
    began = max((number for number, line in enumerate(lines) if STARTING in line), default=0)
    if not folder.is_dir() or not any(INITIALIZED in line for line in lines[began:]):
        return problem
    return (
        f"{problem}. If its file is damaged, move the folder {folder} to another place and start again: the zone is"
        " then rebuilt from SQL, and only what was not archived yet is lost"
    )
