"""Remove the data of an erased person from Redis, and let Redis rewrite its file."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import select

from engine.errors import Internal, Unavailable
from engine.rules.redaction import Person, redact_object
from engine.sql.quote_tables import quotes
from engine.sql.room_tables import room_members, rooms
from engine.store import keys
from engine.store.shard import Shard
from engine.store.stream_connection import parse_info
from engine.types import JobId, RoomId, TechnicianId, Zone, zone_of
from engine.zone import log as log_reads

if TYPE_CHECKING:
    from engine.runtime import Engine

REWRITE_TIMEOUT_S = 60.0
MAX_REWRITTEN_ENTRIES = 1_000
"""A log with more entries is not rewritten, because the script would stop the server for too long."""
MAX_ENTRIES_PER_STREAM_NODE = 100
"""The most entries that Redis stores in one node of a stream (``stream-node-max-entries``)."""
POLL_INTERVAL_S = 0.05

log = structlog.get_logger(__name__)


async def erase_copies(engine: Engine, person: Person) -> None:
    """Remove the person's finished jobs, their texts in rooms, their quotes, and their record as a technician. Raises
    the same errors as ``Store.run``.
    """
    for zone in engine.store.zones:
        for job in sorted(person.booked | person.worked):
            if zone_of(job) == zone:
                await _forget_job(engine, zone, JobId(job))
        for room in await _rooms_of(engine, zone, person):
            await _forget_room(engine, zone, room, person)
        await _forget_technician(engine, zone, person)
        await _forget_quotes(engine, zone, person)


async def _forget_job(engine: Engine, zone: Zone, job: JobId) -> None:
    names = {"meta": keys.zone_meta(zone), "jobs": keys.jobs(zone), "job": keys.job(zone, job)}
    await engine.store.run(zone, "job_forget", keys=names, args={"id": job})


async def _rooms_of(engine: Engine, zone: Zone, person: Person) -> list[RoomId]:
    """Return the rooms of the zone in which the person was ever a member."""
    mine = select(room_members.c.room).where(room_members.c.user == person.id)
    async with engine.archive.begin_read() as conn:
        found = (await conn.execute(select(rooms.c.id).where(rooms.c.zone == zone, rooms.c.id.in_(mine)))).scalars()
        return [RoomId(room) for room in sorted(found)]


async def _forget_room(engine: Engine, zone: Zone, room: RoomId, person: Person) -> None:
    stream = keys.room_messages(zone, room)
    texts: list[str] = []
    for entry_id, fields in await engine.store.command("XRANGE", stream, "-", "+") or []:
        document = fields[5].decode()
        if (redacted := redact_object(person, document)) != document:
            texts += [entry_id.decode().partition("-")[0], redacted]
    names = {"meta": keys.zone_meta(zone), "room": keys.room(zone, room), "messages": stream}
    await engine.store.run(zone, "room_forget", keys=names, args={"user": person.id, "texts": texts})


async def _forget_technician(engine: Engine, zone: Zone, person: Person) -> None:
    technician = TechnicianId(person.id)
    names = {
        "meta": keys.zone_meta(zone),
        "seen": keys.last_seen(zone),
        "people": keys.map_people(zone),
        "summaries": keys.technician_summaries(zone),
        "technician": keys.technician(zone, technician),
    }
    await engine.store.run(zone, "technician_forget", keys=names, args={"id": technician})


async def _forget_quotes(engine: Engine, zone: Zone, person: Person) -> None:
    query = select(quotes.c.id).where(quotes.c.zone == zone, quotes.c.customer == person.id)
    async with engine.archive.begin_read() as conn:
        found = (await conn.execute(query)).scalars().all()
    for quote in found:
        names = {"meta": keys.zone_meta(zone), "quote": keys.quote(zone, quote)}
        await engine.store.run(zone, "quote_forget", keys=names)


async def rewrite_log(engine: Engine, zone: Zone, last_seq: int) -> None:
    """Rewrite the zone's log, so that Redis has no bytes of trimmed entries up to ``last_seq`` in its blocks of
    entries. A long log is not rewritten: a block disappears by itself when all its entries are trimmed. Until then,
    this function raises Unavailable. Raises the same errors as ``Store.run``.
    """
    names = {"meta": keys.zone_meta(zone), "log": keys.log(zone)}
    done = await engine.store.run(zone, "log_rewrite", keys=names, args={"limit": MAX_REWRITTEN_ENTRIES})
    first = await log_reads.read_range(engine.store.read_connection, zone, 0, 1)
    if int(done.values[0]) == 0 and first and first[0].seq <= last_seq + MAX_ENTRIES_PER_STREAM_NODE:
        raise Unavailable(f"{zone}: the log's oldest block is not trimmed yet")


async def rewrite_files(engine: Engine) -> None:
    """Let each primary rewrite its append-only file, so that the file no longer contains removed data. Return when the
    rewriting has ended. Raises Unavailable if it takes too long: the next round tries again. A managed Redis that
    permits no rewriting is left as it is; docs/erasure.md says what then remains.
    """
    for shard in engine.store.shards.all:
        await _rewrite_file(engine, shard)


async def _rewrite_file(engine: Engine, shard: Shard) -> None:
    if (await _read_persistence(engine, shard)).get("aof_enabled") != "1":
        return
    try:
        await engine.store.command_on(shard, "BGREWRITEAOF")
    except Internal as error:
        if "already in progress" not in str(error):
            log.warning("aof_not_rewritten", error=str(error))
            return
    until = monotonic() + REWRITE_TIMEOUT_S
    while monotonic() < until:
        state = await _read_persistence(engine, shard)
        if state.get("aof_rewrite_in_progress") == "0" and state.get("aof_rewrite_scheduled") == "0":
            if state.get("aof_last_bgrewrite_status") == "ok":
                return
            break
        await asyncio.sleep(POLL_INTERVAL_S)
    raise Unavailable("Redis has not rewritten its append-only file")


async def _read_persistence(engine: Engine, shard: Shard) -> dict[str, str]:
    return parse_info(await engine.store.command_on(shard, "INFO", "persistence"))
