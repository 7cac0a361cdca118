"""Name the files that are missing for a refused step."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import FilesMissing


@contextmanager
def naming_missing_files() -> Iterator[None]:
    """Add the missing files to the error FilesMissing. lua/lib/job_files.lua names them as ``kind:number``, joined by
    commas.
    """
    try:
        yield
    except FilesMissing as error:
        pairs = (each.split(":") for each in error.reply[0].decode().split(","))
        error.extra["missing"] = {kind: int(number) for kind, number in pairs}
        raise
