"""The address of the SQL database that the settings name."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from engine.process.settings import Settings, SettingsError

_DRIVERS = {
    "sqlite": "sqlite+aiosqlite",
    "postgresql": "postgresql+asyncpg",
    "postgres": "postgresql+asyncpg",
}


def database_url(settings: Settings) -> URL:
    """Return the address, with the driver that Callout uses. Raises SettingsError."""
    if settings.database is None:
        return URL.create(_DRIVERS["sqlite"], database=str(Path(settings.data) / "callout.db"))
    try:
        url = make_url(settings.database)
    except ArgumentError:
        raise SettingsError("database: not an address (postgresql://…, sqlite:///…)") from None
    driver = _DRIVERS.get(url.drivername.partition("+")[0])
    if driver is None:
        raise SettingsError(f"database: {url.drivername} is neither postgresql nor sqlite")
    if driver.startswith("sqlite") and url.database in (None, "", ":memory:"):
        raise SettingsError("database: SQLite needs a file, memory does not last")
    return url.set(drivername=driver)
