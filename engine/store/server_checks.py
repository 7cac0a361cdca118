"""The checks of a Redis server: whether it can be used at all, and whether it can give the acknowledgement level."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from engine.errors import Unavailable
from engine.process.levels import Level, LevelReport
from engine.store.error_replies import ErrorReply
from engine.store.stream_connection import parse_info

MIN_REDIS_VERSION = (7, 0)
MIN_VALKEY_VERSION = (8, 0)
NO_PERSISTENCE = "no persistence: set appendonly yes (or save)"
"""A problem at the start. If somebody switches persistence off later, it is a warning: nothing is lost until the end of
the server's process."""

SendCommand = Callable[..., Awaitable[Any]]
"""Sends one command and returns its raw reply."""


async def server_problems(client: Redis, level: Level = "fast", replicas: int = 0) -> list[str]:
    """Return the reasons why this server cannot be used, one sentence each; empty if it can.

    Eviction would drop jobs silently, and a server without persistence loses acknowledged claims when its process
    ends. A server that cannot give the level would break its promise. In all cases the server does not start; a warning
    would not be enough.
    """
    info = await client.info()
    problems = []
    name, version = _name_and_version(info)
    if version < (MIN_VALKEY_VERSION if name == "valkey" else MIN_REDIS_VERSION):
        problems.append(f"{name} {'.'.join(map(str, version))} is too old: Redis >= 7.0 or Valkey >= 8")
    if info.get("maxmemory_policy") != "noeviction":
        problems.append(f"maxmemory-policy is {info.get('maxmemory_policy')}: must be noeviction")
    if info.get("role") not in (None, "master"):
        problems.append(f"the server is a {info.get('role')}: connect to the primary")
    if not info.get("aof_enabled") and not await _saves_snapshots(client):
        problems.append(NO_PERSISTENCE)
    return [*problems, *(await server_level_report(client, level, replicas)).problems]


async def server_level_report(client: Redis, level: Level, replicas: int) -> LevelReport:
    """Return whether the server of ``client`` gives the acknowledgement level ``level``."""
    return level_report(level, replicas, await client.info("replication"), await _read_sync_settings(client, level))


def level_report(level: Level, replicas: int, info: Mapping[str, Any], sync_settings: Mapping[str, str]) -> LevelReport:
    """Return whether a server gives ``level``. ``info`` is its reply to INFO, ``sync_settings`` the present values of
    ``SYNC_SETTINGS``; empty if the server hides its configuration.
    """
    if level == "replica":
        return _replica_report(replicas, info)
    if level == "aof":
        return _aof_report(sync_settings)
    return LevelReport()


async def read_level_report(send: SendCommand, level: Level, replicas: int) -> LevelReport:
    """Return whether the server that ``send`` reaches gives ``level``, with a warning if it persists nothing any more.
    ``send`` returns raw replies.
    """
    info = parse_info(await send("INFO", "replication")) if level == "replica" else {}
    report = level_report(level, replicas, info, await _read_settings(send, *SYNC_SETTINGS) if level == "aof" else {})
    if parse_info(await send("INFO", "persistence")).get("aof_enabled") != "0":
        return report
    saves = (await _read_settings(send, "save")).get("save", "hidden")
    return report if saves else report._replace(warnings=(*report.warnings, NO_PERSISTENCE))


async def _read_settings(send: SendCommand, *names: str) -> dict[str, str]:
    """Return the present values of settings; empty if the server hides its configuration."""
    try:
        found = await send("CONFIG", "GET", *names)
    except (ErrorReply, Unavailable) as error:
        if isinstance(error, Unavailable) and not str(error).startswith("NOPERM"):
            raise
        return {}
    texts = [text.decode() for text in found]
    return dict(zip(texts[::2], texts[1::2], strict=True))


SYNC_SETTINGS: Mapping[str, str] = {
    "appendonly": "yes",
    "appendfsync": "always",
    "no-appendfsync-on-rewrite": "no",
}
"""The settings that level ``aof`` requires. With ``no-appendfsync-on-rewrite`` nothing would be synced while the file
is rewritten, which takes minutes."""


def _aof_report(sync_settings: Mapping[str, str]) -> LevelReport:
    if not sync_settings:
        return LevelReport(problems=("level aof: this server hides its configuration, so it cannot be checked",))
    problems = [
        f"level aof: {name} is {sync_settings.get(name)}, must be {wanted}"
        for name, wanted in SYNC_SETTINGS.items()
        if sync_settings.get(name) != wanted
    ]
    return LevelReport(
        tuple(f"{name} {sync_settings[name]}" for name in SYNC_SETTINGS if name in sync_settings), tuple(problems)
    )


def _replica_report(replicas: int, info: Mapping[str, Any]) -> LevelReport:
    online = sum(1 for name, value in info.items() if _is_replica(name) and "online" in str(value))
    if replicas < 1:
        return LevelReport(problems=("level replica: the number of replicas is not set (replicas, at least 1)",))
    if online < replicas:
        return LevelReport(problems=(f"level replica: {online} of {replicas} replicas are connected",))
    more = f"{online - replicas} more replicas are connected than are waited for: one of them must not be promoted"
    return LevelReport((f"{online} of {replicas} replicas connected",), warnings=(more,) if online > replicas else ())


def _is_replica(name: str) -> bool:
    """Return whether ``name`` in the reply to INFO describes a replica: ``slave0``, ``slave1``, …."""
    return name.startswith("slave") and name.removeprefix("slave").isdecimal()


async def _read_sync_settings(client: Redis, level: Level) -> dict[str, str]:
    if level != "aof":
        return {}
    try:
        found = await client.config_get(*SYNC_SETTINGS)
    except ResponseError:
        return {}
    return {str(name): str(value) for name, value in found.items()}


async def _saves_snapshots(client: Redis) -> bool:
    """Return whether the server saves snapshots of its data."""
    try:
        return bool((await client.config_get("save")).get("save"))
    except ResponseError:
        return True  # managed servers hide CONFIG; the operator is responsible for their persistence


def _name_and_version(info: dict[str, Any]) -> tuple[str, tuple[int, int]]:
    """Return the server's name (``redis`` or ``valkey``) and its version."""
    name = "valkey" if "valkey_version" in info else "redis"
    major, minor = str(info[f"{name}_version"]).split(".")[:2]
    return name, (int(major), int(minor))
