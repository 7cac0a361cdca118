"""The eraser: the process that erases a person. Maintenance runs it in every server. One server works on an erasure at
a time.

1. *waiting*: until all events of the person are archived and trimmed from the logs in Redis, and until no live job or
   open dispute of theirs prevents the erasure.
2. *running*: a line of the list of erasures is written. Redis' copies are removed, so that no later event has anything
   of the person; the events that were appended before must leave the logs too. In each zone the events are erased, at
   most 500 at a time: ``subject.erased`` is appended with the seqs of these events, then the data and salts of the
   events are removed. Then all other rows, and the account last.
3. The files of Redis and SQLite are rewritten, without what was erased. Then it is *done*.

Each step may be repeated. Therefore another process can continue if a process dies at any point.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import TYPE_CHECKING, Any

import msgspec
import structlog
from sqlalchemy import func, or_, select, update

from engine.archive import erase_events, erase_rows, erasure_list, person_reader
from engine.archive.erasure_list import ListedErasure
from engine.audit.row_checker import ERASED_TYPE
from engine.clock import now_ms
from engine.domain import erasures as requests
from engine.errors import CalloutError
from engine.identity.log_append import append_event
from engine.rules.redaction import Person
from engine.sql import compaction
from engine.sql.erasure_tables import erasures
from engine.sql.schema import checkpoints, outbox
from engine.technicians import sql
from engine.types import UserId, Zone, new_id
from engine.workers import redis_erasure
from engine.zone import log as zone_log

if TYPE_CHECKING:
    from engine.runtime import Engine

LEASE_MS = 300_000
"""How long a process may work on an erasure before another one may begin it again. Two at once do no harm, because both
do the same.
"""
MAX_UNARCHIVED_EVENTS = 1_000
"""The erasure waits while the archive is more than this many events behind a log."""
_KEY_NAMESPACE = uuid.UUID("0b8a3f64-6f0f-4c43-9d7e-5e0d8d0f2a91")

log = structlog.get_logger(__name__)


async def run_once(engine: Engine) -> int:
    """Continue all erasures. Return how many were finished. An erasure that fails does not delay the others."""
    holder, done = new_id("node"), 0
    try:
        await erasure_list.apply_list(engine.archive, engine.settings, is_open=True)
    except OSError as error:
        log.error("erasure_list_unreadable", error=str(error))
    async with engine.archive.begin_read() as conn:
        query = select(erasures.c.id).where(erasures.c.state != "done").order_by(erasures.c.requested_at)
        waiting = (await conn.execute(query)).scalars().all()
    for name in waiting:
        if not await _take_lease(engine, name, holder):
            continue
        try:
            done += await _continue_erasure(engine, name)
        except CalloutError as error:
            log.warning("erasure_waits", erasure=name, error=str(error))
        except OSError as error:
            log.error("erasure_waits", erasure=name, error=str(error))
        finally:
            await _update_erasure(engine, name, holder=None, expires_at=None)
    return done


async def _continue_erasure(engine: Engine, name: str) -> bool:
    """Do the steps of an erasure that are possible now. Return whether the erasure is finished."""
    async with engine.archive.begin_read() as conn:
        row: Any = (await conn.execute(select(erasures).where(erasures.c.id == name))).one()
    user = UserId(row.user)
    if undeclared := await requests.read_undeclared_zones(engine, user):
        log.warning("erasure_waits", erasure=name, error=f"declare again: zone {', '.join(undeclared)}")
        return False
    person = await person_reader.read_person(engine.archive, user, json.loads(row.known or "[]"))
    if row.state == "waiting" and await requests.read_blockers(engine, user):
        return False
    if row.state == "waiting" and not await _has_left_logs(engine, person):
        return False
    await _update_erasure(engine, name, state="running", known=json.dumps(person.texts))
    erasure_list.add_to_list(erasure_list.file_of(engine.settings), ListedErasure(name, user, now_ms()))
    log.warning("erasure_runs", erasure=name, user=user)
    await redis_erasure.erase_copies(engine, person)
    # a log has an event from before the copies were removed, or the log was restored
    if not await _has_left_logs(engine, person):
        return False
    for zone in await person_reader.read_zones(engine.archive):
        await _erase_zone(engine, zone, person, is_restored=row.restored)
    await erase_rows.erase_rows(engine.archive, person)
    async with engine.archive.begin_write() as conn:
        await erase_rows.erase_account(conn, person)
    await sql.publish_to_redis(engine, user)
    await _update_erasure(engine, name, known=None, reason=None)
    for zone in engine.store.zones:
        seqs = await person_reader.find_seqs(engine.archive, zone, person)
        await redis_erasure.rewrite_log(engine, zone, seqs[-1] if seqs else 0)
    await redis_erasure.rewrite_files(engine)
    await compaction.compact(engine.archive)
    await _update_erasure(engine, name, state="done", done_at=now_ms(), restored=False)
    log.warning("erasure_done", erasure=name, user=user)
    return True


async def _erase_zone(engine: Engine, zone: Zone, person: Person, *, is_restored: bool) -> None:
    async def announce(in_zone: Zone, seqs: list[int]) -> None:
        digest = hashlib.sha256(msgspec.json.encode(seqs)).hexdigest()
        key = uuid.uuid5(_KEY_NAMESPACE, f"{person.id} {in_zone} {digest}")
        data = msgspec.json.encode({"user": person.id, "seqs": seqs})
        await append_event(engine, ERASED_TYPE, channels="", data=data, actor="engine", key=str(key), zone=in_zone)

    seqs = await person_reader.find_seqs(engine.archive, zone, person, with_quarantine=True)
    if is_restored:
        unnamed = await erase_events.unsalted_seqs(engine.archive, zone, seqs)
        for start in range(0, len(unnamed), person_reader.BATCH_SIZE):
            await announce(zone, unnamed[start : start + person_reader.BATCH_SIZE])
    await erase_events.erase_events(engine.archive, zone, person, seqs, announce)


async def _has_left_logs(engine: Engine, person: Person) -> bool:
    """Return whether no log in Redis has an event of the person any more, and the outbox has no change of theirs."""
    async with engine.archive.begin_read() as conn:
        waiting = select(func.count()).select_from(outbox).where(outbox.c.user == person.id)
        if (await conn.execute(waiting)).scalar_one():
            return False
        archived = {row.zone: row.seq for row in await conn.execute(select(checkpoints.c.zone, checkpoints.c.seq))}
    read = engine.store.read_connection
    for zone in engine.store.zones:
        unarchived = await zone_log.read_range(read, zone, archived.get(zone, 0), MAX_UNARCHIVED_EVENTS)
        named = person.id.encode()
        if len(unarchived) == MAX_UNARCHIVED_EVENTS or any(
            named in event.data or f"user:{person.id}" in event.to for event in unarchived
        ):
            return False
        seqs = await person_reader.find_seqs(engine.archive, zone, person)
        first = await zone_log.read_range(read, zone, 0, 1)
        if seqs and first and first[0].seq <= seqs[-1]:
            return False
    return True


async def _take_lease(engine: Engine, name: str, holder: str) -> bool:
    free = or_(erasures.c.holder.is_(None), erasures.c.expires_at < now_ms())
    take = update(erasures).where(erasures.c.id == name, free)
    async with engine.archive.begin_write() as conn:
        return (await conn.execute(take.values(holder=holder, expires_at=now_ms() + LEASE_MS))).rowcount == 1


async def _update_erasure(engine: Engine, name: str, **values: Any) -> None:
    async with engine.archive.begin_write() as conn:
        await conn.execute(update(erasures).where(erasures.c.id == name).values(**values))
