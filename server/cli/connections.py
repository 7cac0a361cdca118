"""The connections of commands that work on the stores of an installation, beside a running server or without one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.process.datadir import CannotStart
from engine.process.settings import Settings

if TYPE_CHECKING:
    import redis.asyncio as redis

    from engine.sql.database import Archive
    from engine.store.scripts import Args, Keys
    from engine.types import Zone
    from engine.zone.records import ZoneRecord


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
    url = redis_url(settings)
    if url is None:
        yield None
        return
    async with open_client(url) as client:
        yield client


@asynccontextmanager
async def open_client(url: str) -> AsyncIterator[redis.Redis]:
    """Yield a client of the Redis at ``url``: one server, a cluster, or the primary that sentinels name."""
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    from engine.store.redis_url import create_client

    async with create_client(url, socket_timeout=5.0, retry=Retry(NoBackoff(), 0)) as client:
        yield client


async def open_primaries(url: str, client: redis.Redis, stack: AsyncExitStack) -> dict[str, redis.Redis]:
    """Return a client of each primary of a cluster by its address, which ``stack`` closes. If the Redis is no cluster,
    return ``client`` by "".
    """
    from redis.asyncio import RedisCluster

    from engine.store.redis_url import Node, create_node_client, parse_url

    if not isinstance(client, RedisCluster):
        return {"": client}
    nodes = sorted(Node(node.host, node.port) for node in client.get_primaries())
    found = {str(node): create_node_client(parse_url(url), node, socket_timeout=5.0) for node in nodes}
    for each in found.values():
        stack.push_async_callback(each.aclose)
    return found


def is_filled(path: Path) -> bool:
    """Return whether there is a file with content. Raises CannotStart if the file system cannot be read."""
    try:
        return path.is_file() and path.stat().st_size > 0
    except OSError as error:
        raise CannotStart(f"{path}: {error.strerror}") from None


@asynccontextmanager
async def open_database(settings: Settings) -> AsyncIterator[Archive]:
    """Yield the database of ``settings``, which is never created: a mistyped address must not become an empty
    installation. Raises CannotStart if there is no database yet, SettingsError, Unavailable.
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
    """Run a Lua script and return its reply. The script is sent as text, because only servers load the script
    library.
    """
    from engine.store import scripts

    verb = scripts.load_installed_library()[script]
    _, _, count, *rest = verb.call(keys, args, *epoch)
    reply: Any = await client.eval(verb.source, int(count), *rest)
    return list(reply)


async def compare_zone(client: redis.Redis, zone: Zone, record: ZoneRecord) -> str:
    """Compare Redis with the database's record of the zone, and return the reply that the script ``zone_open`` would
    give a server: ``OK`` or a key of ``CLOSED_REASONS``. Nothing is changed.
    """
    from redis.asyncio import RedisCluster

    from engine.store import keys
    from engine.zone.opening import script_arguments, script_keys

    at: dict[str, Any] = {}
    if isinstance(client, RedisCluster):
        at["target_nodes"] = client.get_node_from_key(keys.zone_meta(zone))
    run_id = (await client.info("server", **at))["run_id"]
    reply = await run_script(client, "zone_open", script_keys(zone), script_arguments(run_id, "look", record))
    return str(reply[0].decode())
