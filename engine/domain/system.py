"""The state of the whole system, for ops: the processes of all servers, the zones, Redis and the database."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from engine.domain import stats
from engine.domain.archive_lag import read_lag
from engine.errors import CalloutError
from engine.events import rfc3339_of
from engine.process.shown_settings import ShownSetting, shown_settings
from engine.roles import ADMIN_ROLE, OPS, require_role
from engine.store import keys
from engine.types import Principal, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine


class ZoneFacts(msgspec.Struct, frozen=True, kw_only=True):
    """The facts about a zone in this process and in Redis. ``why`` says why the zone is closed. SQL has the log up to
    the seq ``archived``, and ``lag_s`` is the age of the oldest event after it. Notifications were derived up to the
    seq ``pushed``.
    """

    zone: Zone
    open: bool
    why: str
    epoch: str
    seq: int
    archived: int
    lag_s: float
    pushed: int
    opened_at: str | None
    open_jobs: int


class StoreFacts(msgspec.Struct, frozen=True, kw_only=True):
    """One primary of Redis."""

    name: str
    version: str
    memory_bytes: int
    clients: int


class System(msgspec.Struct, frozen=True, kw_only=True):
    """The state of the whole system. ``database`` is the kind of the SQL database."""

    processes: list[dict[str, Any]]
    zones: list[ZoneFacts]
    redis: list[StoreFacts]
    database: str


async def read_system(engine: Engine, caller: Principal) -> System:
    """Return the state of the system. A zone or a Redis that does not answer is shown with what this process knows.
    Raises Forbidden, Unavailable.
    """
    require_role(caller, OPS)
    zones = await asyncio.gather(*(_read_zone(engine, zone) for zone in engine.store.zones))
    return System(
        processes=await stats.read_processes(engine, caller),
        zones=list(zones),
        redis=[await _read_store(shard.name, shard.read_connection) for shard in engine.store.shards.all],
        database=engine.archive.url.get_backend_name(),
    )


def read_settings(engine: Engine, caller: Principal) -> list[ShownSetting]:
    """Return the settings of the process that answers, with its secrets masked. Raises Forbidden."""
    require_role(caller, ADMIN_ROLE)
    return shown_settings(engine.settings)


async def _read_zone(engine: Engine, zone: Zone) -> ZoneFacts:
    state, reads = engine.store.zones[zone], engine.store.read_connection
    known: dict[str, Any] = {"zone": zone, "open": state.open, "why": state.why, "epoch": state.epoch, "seq": state.seq}
    try:
        fields = ("epoch", "seq", "archived", "opened_at")
        epoch, seq, archived, opened_at = await reads.hmget(keys.zone_meta(zone), fields)
        lag, pushed = await asyncio.gather(read_lag(engine, zone), reads.get(keys.push_cursor(zone)))
        jobs = await reads.count_members(keys.map_places(zone))
    except CalloutError as error:
        unread: dict[str, Any] = {"archived": 0, "lag_s": 0.0, "pushed": 0, "opened_at": None, "open_jobs": 0}
        return ZoneFacts(**known | unread | {"open": False, "why": state.why or error.detail or error.title})
    return ZoneFacts(
        **known | {"epoch": (epoch or b"").decode(), "seq": int(seq or 0)},
        archived=int(archived or 0),
        lag_s=lag.seconds,
        pushed=int(pushed or 0),
        opened_at=rfc3339_of(int(opened_at)) if opened_at else None,
        open_jobs=jobs,
    )


async def _read_store(name: str, reads: Any) -> StoreFacts:
    server, memory, clients = await asyncio.gather(*(reads.info(part) for part in ("server", "memory", "clients")))
    return StoreFacts(
        name=name,
        version=server.get("valkey_version") or server.get("redis_version", ""),
        memory_bytes=int(memory.get("used_memory", 0)),
        clients=int(clients.get("connected_clients", 0)),
    )
