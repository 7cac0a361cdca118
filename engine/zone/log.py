"""Functions that read a zone's log. Only scripts append to a log; see lua/lib/event_log.lua."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from redis.asyncio import Redis

from engine.errors import Unavailable
from engine.events import Event, parse_log_entry
from engine.store import keys
from engine.store.stream_connection import Reads
from engine.types import Cursor, Epoch, Zone

MAX_TAIL_EVENTS = 5_000


async def read_head(client: Redis | Reads, zone: Zone) -> Cursor:
    """Return the last seq of the zone's log and its epoch, as Redis has them now. Epoch "": there is no log."""
    row: Any = await client.hmget(keys.zone_meta(zone), ["epoch", "seq"])
    epoch, seq = row
    return Cursor(Epoch((epoch or b"").decode()), int(seq or 0))


async def read_archived_seq(client: Redis | Reads, zone: Zone) -> int:
    """Return the last archived seq of the zone's log, as Redis has it now."""
    archived: Any = await client.hget(keys.zone_meta(zone), "archived")
    return int(archived or 0)


async def read_opening_run_id(client: Redis | Reads, zone: Zone) -> str:
    """Return the ``run_id`` of the Redis process in which the zone was last opened.

    A Redis process appends nothing to the log before the zone is opened in it. After that, another epoch begins in the
    same process only if the zone is closed first.
    """
    found: Any = await client.hget(keys.zone_meta(zone), "run_id")
    return (found or b"").decode()


async def read_run_id(client: Redis | Reads) -> str:
    """Return the ``run_id`` of the Redis process to which ``client`` is connected."""
    info: Mapping[str, Any] = await client.info("server")
    return str(info["run_id"])


async def check_primary(client: Redis | Reads) -> None:
    """Raise Unavailable if ``client`` reads from a replica: a replica that is cut off from its primary returns no new
    entries and no error.
    """
    info: Mapping[str, Any] = await client.info("replication")
    if info["role"] != "master":
        raise Unavailable("a replica answers")


async def read_epochs(client: Redis | Reads, zone: Zone) -> dict[Epoch, int]:
    """Return the first seq of each epoch. A cursor of an older epoch is valid if its seq is below the first seq of the
    next epoch.
    """
    rows: Any = await client.hgetall(keys.epochs(zone))
    return {Epoch(name.decode()): int(first) for name, first in rows.items()}


async def read_range(
    client: Redis | Reads,
    zone: Zone,
    after: int,
    count: int,
    last_seq: int | None = None,
    *,
    with_state: bool = False,
) -> list[Event]:
    """Return at most ``count`` events with ``after`` < seq ≤ ``last_seq`` that the log still has, in order.
    ``with_state``: each event has its ``state`` (lua/lib/job_state.lua).
    """
    last = "+" if last_seq is None else f"{last_seq}-0"
    rows: Any = await client.xrange(keys.log(zone), f"({after}-0", last, count)
    return [parse_log_entry(zone, entry, fields, with_state=with_state) for entry, fields in rows]


async def wait_for_events(
    client: Redis | Reads, after: Mapping[Zone, int], block_ms: int, count: int, *, with_state: bool = False
) -> list[Event]:
    """Return the events that follow ``after`` in each zone, at most ``count`` for each zone. Wait up to ``block_ms``
    for the first. ``with_state``: each event has its ``state``.

    ``client`` must have no socket timeout (``Store.reader``). The list is empty if there are none.
    """
    zones = {keys.log(zone).encode(): zone for zone in after}
    streams: dict[Any, Any] = {keys.log(zone): f"{seq}-0" for zone, seq in after.items()}
    reply: Any = await client.xread(streams, count=count, block=block_ms or None)
    return [
        parse_log_entry(zones[name], entry, fields, with_state=with_state)
        for name, rows in reply or ()
        for entry, fields in rows
    ]


async def read_channel(client: Redis | Reads, zone: Zone, after: int, channel: str) -> list[Event]:
    """Return the events to ``channel`` with a seq above ``after``, the archived seq. SQL does not have these yet; lists
    that must not lag behind a push need them.
    """
    events = await read_range(client, zone, after, MAX_TAIL_EVENTS)
    return [event for event in events if channel in event.to]


async def read_event(client: Redis | Reads, zone: Zone, seq: int) -> Event | None:
    """Return the event ``seq``; None if the log does not have it any more. Raises Unavailable."""
    rows: Any = await client.xrange(keys.log(zone), f"{seq}-0", f"{seq}-0", 1)
    return parse_log_entry(zone, *rows[0]) if rows else None
