"""An SQLite database with the whole schema and no rows: the migrations run once, and each test starts with a copy."""

from __future__ import annotations

import asyncio
import atexit
import functools
import shutil
import tempfile
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from engine.process import datadir
from engine.process.settings import Settings
from engine.sql.database import open_archive


@functools.cache
def migrated_database() -> Path:
    """Migrate a database, once for each process, and return its path."""
    folder = tempfile.mkdtemp(prefix="callout-migrated-")
    atexit.register(shutil.rmtree, folder)
    run_in_thread(migrate(Settings(data=folder)))
    return Path(folder) / "callout.db"


def create_data_dir(data: Path) -> None:
    """Create the data directory ``data`` with a copy of the migrated database."""
    copy = datadir.create_directory(data) / "callout.db"
    shutil.copyfile(migrated_database(), copy)
    copy.chmod(0o600)


async def migrate(settings: Settings) -> None:
    """Create the database of these settings, and run its migrations."""
    await (await open_archive(settings)).close()


def run_in_thread(work: Coroutine[Any, Any, None]) -> None:
    """Run ``work`` on a new event loop in a thread, because a fixture may be made while the tests' loop runs."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()
