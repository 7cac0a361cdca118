"""Read what happened to a job: its changes, and whom its waves have asked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from engine.archive import offer_reader, reader
from engine.archive.reader import HistoryItem
from engine.domain import job_queries
from engine.errors import Forbidden, NotFound
from engine.idempotency.in_redis import parse_job_id
from engine.rules import job_document
from engine.store import keys
from engine.types import Principal
from engine.zone import log

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_LOG_EVENTS = 5_000


async def history(engine: Engine, caller: Principal, job_id: str) -> list[HistoryItem]:
    """Return all changes of a job in the order of the log: from the archive, then from the part that is not archived
    yet.
    """
    zone, job = parse_job_id(job_id)
    if job_document.decode_job(await job_queries.read_job(engine, caller, job_id)).customer is None:
        raise NotFound("No such job")
    # Read the log before SQL: an event that is archived in between is read twice, never missed.
    reached = await reader.checkpoint(engine.archive, zone)
    tail = await log.read_range(engine.store.read_connection, zone, reached.seq if reached else 0, MAX_LOG_EVENTS)
    # This search for the id is only a fast filter, because the metadata of another job may contain the id too:
    # history_item decides.
    name = f'"{job}"'.encode()
    late = [item for event in tail if name in event.data and (item := reader.history_item(event, job))]
    both = {item.seq: item for item in (*late, *await reader.history(engine.archive, job))}
    return [both[seq] for seq in sorted(both)]


async def waves(engine: Engine, caller: Principal, job_id: str) -> list[bytes]:
    """Return the record of each round of offers for a job, the first round first: who got an offer, and who was left
    out and why. Raises Forbidden.
    """
    if not caller.is_ops:
        raise Forbidden("Only ops may see whom a job was offered to")
    zone, job = parse_job_id(job_id)
    live = await engine.store.command("LRANGE", keys.job_waves(zone, job), 0, -1)
    is_in_redis = live or await engine.store.command("EXISTS", keys.job(zone, job))
    if not is_in_redis and await reader.job(engine.archive, job) is None:
        raise NotFound("No such job")
    # Redis has the waves until the job is finished and archived.
    archived = await offer_reader.read_waves(engine.archive, job)
    return list(dict.fromkeys((*archived, *reversed(live))))
