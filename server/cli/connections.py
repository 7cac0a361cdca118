"""The connections of commands that work on the stores of an installation, beside a running server or without one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.process.datadir import CannotStart
from engine.process.settings import Settings

if TYPE_CHECKING:
    import redis.asyncio as redis

    from engine.sql.database import Archive
    from engine.store.scripts import Args, Keys


def redis_url(settings: Settings) -> str | None:
    """Return the URL of the Redis of ``settings``: the given one, or the embedded Valkey's if it runs; else None."""
    from engine.process import embedded
    from engine.process.datadir import process_start_text

    if settings.redis:
        return settings.redis
    state = embedded.read_state(Path(settings.data) / "valkey")
    if state is None or not state.started_at or process_start_text(state.pid) != state.started_at:
        return None
    return f"redis://:{state.password}@127.0.0.1:{state.port}/0"


@asynccontextmanager
async def open_redis(settings: Settings) -> AsyncIterator[redis.Redis | None]:
    """Yield a client of the Redis of ``settings``; None if it is the embedded Valkey and does not run."""
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    from engine.store.redis_url import create_client

    url = redis_url(settings)
    if url is None:
        yield None
        return
    async with create_client(url, socket_timeout=5.0, retry=Retry(NoBackoff(), 0)) as client:
        yield client


def is_filled(path: Path) -> bool:
    """Return whether there is a file with content. Raises CannotStart if the file system cannot be read."""
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError as error:
        raise CannotStart(f"{path}: {error.strerror}") from None


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Archive]:
    """Yield the database of ``settings``, which is never created: a mistyped address must not become an empty
    installation. Raises CannotStart if there is none yet, SettingsError, Unavailable.
    """
    from engine.sql.address import database_url
    from engine.sql.database import hide_password, make_archive

    url = database_url(settings)
    where = settings.data if settings.database is None else hide_password(url)
    other = "--data" if settings.database is None else "--database"
    missing = CannotStart(f"no database in {where}: no server was started on it yet, or give another {other}")
    if url.get_backend_name() == "sqlite" and not is_filled(Path(url.database or "")):
        raise missing
    archive = make_archive(settings)
    try:
        if not await archive.has_schema():
            raise missing
        await archive.migrate_once()
        yield archive
    finally:
        await archive.close()


async def run_script(client: redis.Redis, script: str, keys: Keys, args: Args, *epoch: str) -> list[Any]:
    """Run a Lua script and return its reply. It is sent as text, because only servers load the script library."""
    from engine.store import scripts

    verb = scripts.load_installed_library()[script]
    _, _, count, *rest = verb.call(keys, args, *epoch)
    reply: Any = await client.eval(verb.source, int(count), *rest)
    return list(reply)
