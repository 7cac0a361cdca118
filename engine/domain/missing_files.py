"""Say which files a refused step lacks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import FilesMissing


@contextmanager
def naming_missing_files() -> Iterator[None]:
    """Add the files that a step lacks to its refusal (``kind:number`` joined by commas, lua/lib/job_files.lua)."""
    try:
        yield
    except FilesMissing as error:
        pairs = (each.split(":") for each in error.reply[0].decode().split(","))
        error.extra["missing"] = {kind: int(number) for kind, number in pairs}
        raise
