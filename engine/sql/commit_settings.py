"""The acknowledgement level ``sql``: check whether a PostgreSQL server writes a transaction to its disk before it
acknowledges the commit.

The settings are read on each new connection, because a failover of the database changes the server, and because
PostgreSQL can have them set for one role or one database.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncEngine

from engine.errors import Unavailable
from engine.process.levels import Level, LevelReport
from engine.process.settings import SettingsError

_QUERY = """
SELECT current_setting('synchronous_commit') AS synchronous_commit, current_setting('fsync') AS fsync,
    (SELECT count(*) FROM pg_stat_replication) AS standbys,
    (SELECT count(*) FROM pg_stat_replication WHERE sync_state IS NULL) AS hidden_standbys,
    (SELECT count(*) FROM pg_stat_replication WHERE sync_state IN ('sync', 'quorum')) AS synchronous_standbys
"""


class UnsuitableDatabase(Unavailable, SettingsError):
    """Raised on a new connection if the database cannot give the level. At the start the process ends, later the
    request is refused and nothing was done.
    """


class CommitSettings:
    """Checks whether a commit of the database survives a crash. ``report`` is the result of the latest check."""

    def __init__(self) -> None:
        self.report = LevelReport()

    def watch_connections(self, engine: AsyncEngine, level: Level) -> None:
        """Check each new connection if the acknowledgement level is ``sql``. UnsuitableDatabase is raised if the
        database has not promised that a committed transaction is on its disk.
        """
        if level == "sql" and engine.dialect.name == "sqlite":
            self.report = LevelReport(("SQLite synchronous=FULL",))  # each connection sets it (sqlite_connection.py)
        elif level == "sql":
            event.listen(engine.sync_engine, "connect", self._check)

    def _check(self, connection: Any, _record: Any) -> None:
        self.report = _level_report(connection.run_async(lambda driver: driver.fetchrow(_QUERY)))
        if self.report.problems:
            raise UnsuitableDatabase("; ".join(self.report.problems))


def _level_report(found: Any) -> LevelReport:
    problems = [
        f"level sql: PostgreSQL has {name}={found[name]}: a crash of its host would lose commits"
        for name in ("synchronous_commit", "fsync")
        if found[name] == "off"
    ]
    checks = tuple(f"PostgreSQL {name}={found[name]}" for name in ("synchronous_commit", "fsync"))
    warnings = []
    if found["hidden_standbys"]:
        warnings.append("the state of the standbys of PostgreSQL is hidden from this user (grant pg_monitor)")
    elif found["standbys"] and not found["synchronous_standbys"]:
        warnings.append("only asynchronous standbys follow PostgreSQL: their promotion may lose acknowledged commands")
    elif found["synchronous_standbys"] and found["synchronous_commit"] == "local":
        warnings.append("synchronous_commit=local: the promotion of a standby may lose acknowledged commands")
    return LevelReport(checks, tuple(problems), tuple(warnings))
