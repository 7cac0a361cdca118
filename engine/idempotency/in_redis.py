"""Idempotency keys of commands done in Redis: a repeated command acts once and gets the same answer (G2).

An idempotency record in Redis is small: reply word, fingerprint, seq, version and job. The answer is built again from
the event that the command wrote, so that no copy of the job is stored for each command of the last ten minutes.

Commands done in SQL have their records in SQL (``in_sql.py``), in the transaction of their effect. Such a command is
refused if its key belongs to a command in Redis: ``once`` checks. The scripts cannot read SQL, so the reverse goes
unnoticed. (Rejected: a marker in Redis for each key of SQL. Two stores cannot decide together, and a crash between
them would refuse a command that was never done, or let its repeat act twice.)
"""

from __future__ import annotations

import asyncio
import hmac
import uuid
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import msgspec
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive import reader
from engine.errors import Indeterminate, Invalid, NotFound, ReusedKey, Unavailable
from engine.idempotency import in_sql
from engine.store import keys
from engine.store.connection import Done
from engine.types import IdempotencyKey, JobId, Principal, UserId, Zone, zone_of
from engine.zone import log

if TYPE_CHECKING:
    from engine.runtime import Engine

T = TypeVar("T")


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of a command. ``job`` is the job's JSON at ``seq``; ``key`` is the idempotency key of the command."""

    job: msgspec.Raw | None
    message: str | None
    seq: int
    version: int
    repeated: bool
    key: str
    created: bool = True
    """False if a job with the booking's ``reference`` existed already."""


class IdempotencyRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The stored outcome under an idempotency key: ``done``, or ``refused`` with the error code."""

    key: str
    status: Literal["done", "refused"]
    code: str | None = None
    seq: int | None = None
    job: str | None = None


class _WithJob(msgspec.Struct):
    job: msgspec.Raw


_with_job = msgspec.json.Decoder(_WithJob)


def new_key() -> IdempotencyKey:
    """A key for a caller who sent none. The answer contains it, so that the caller can repeat the command."""
    return IdempotencyKey(str(uuid.uuid4()))


def checked_key(key: str | None) -> IdempotencyKey:
    """The caller's key, or a new one. Raises Invalid unless it is a UUID, because it becomes part of a Redis key."""
    if key is None:
        return new_key()
    try:
        return IdempotencyKey(str(uuid.UUID(key)))
    except (ValueError, AttributeError):
        raise Invalid("The request key must be a UUID") from None


def fingerprint(engine: Engine, command: str, job: str, arguments: Any = None) -> str:
    """HMAC-SHA-256 over command, job and arguments: it tells a repeat from a reused key, on every transport alike.

    It is part of the event's ``cause``. It is keyed with the server's key, because a reader of the log could find the
    six digits of a code in a plain hash by trying all of them.
    """
    text = msgspec.json.encode([command, job, arguments], order="deterministic")
    return hmac.digest(engine.signer.derive("requests"), text, "sha256").hex()


def located(job_id: str) -> tuple[Zone, JobId]:
    """Zone and id of a job. Raises NotFound if the text cannot be a job's id."""
    zone = zone_of(job_id)
    if zone is None:
        raise NotFound("No such job")
    return zone, JobId(job_id)


async def job_at(engine: Engine, zone: Zone, done: Done) -> bytes | None:
    """The job's JSON in the event ``done.seq``: a repeat is answered with it, as the first request was.

    Raises as ``payload_at``.
    """
    data = await payload_at(engine, zone, done.seq) if done.seq else None
    return bytes(_with_job.decode(data).job) if data else None


async def payload_at(engine: Engine, zone: Zone, seq: int) -> bytes | None:
    """The payload of the event ``seq`` as JSON, from Redis or from SQL; None if there is no such event.

    Raises Indeterminate if the event cannot be read now: ``unavailable`` would promise that nothing was done.
    """
    try:
        event = await log.at(engine.store.reads, zone, seq) or await reader.event(engine.archive, zone, seq)
    except Unavailable as error:
        raise Indeterminate("Done, but its answer cannot be read now; repeat with the same key") from error
    return event.data if event else None


async def find_done(
    engine: Engine, zone: Zone, caller: Principal, key: IdempotencyKey, fingerprint: str
) -> Done | None:
    """The reply of the command that was done under ``key``, for checks that come before the script.

    Raises ReusedKey if that command had another fingerprint.
    """
    stored = await engine.store.command("GET", keys.request(zone, caller.id, key))
    if stored is None:
        return None
    _, earlier, seq, version, job = _parsed(stored)
    if earlier != fingerprint:
        raise ReusedKey
    return Done(True, int(seq), int(version), [job.encode()])


def _parsed(stored: bytes) -> list[str]:
    """The parts of a record of lua/lib/idempotency.lua: `WORD fingerprint seq version job`."""
    return stored.decode().split()


async def once(
    engine: Engine, request: in_sql.Request, kind: Any, act: Callable[[AsyncConnection], Awaitable[T]]
) -> in_sql.Result[T]:
    """``in_sql.once``, after a check that the key belongs to no command in Redis.

    Raises ReusedKey if it does, Unavailable if Redis does not answer.
    """
    names = [keys.request(zone, UserId(request.principal), request.key) for zone in engine.store.zones]
    in_use = await asyncio.gather(*(engine.store.command("EXISTS", name) for name in names))
    # A key that SQL knows too was reused in Redis later. This request repeats the first use, and gets its answer.
    if any(in_use) and await in_sql.find(engine.archive, request.principal, request.key) is None:
        raise ReusedKey
    return await in_sql.once(engine.archive, request, kind, act)


async def find_record(engine: Engine, caller: Principal, key: str) -> IdempotencyRecord:
    """The outcome of the caller's command ``key``. Raises NotFound if it never arrived or its record has expired."""
    key = checked_key(key)
    for zone, state in engine.store.zones.items():
        if not state.open:
            raise Unavailable(f"zone {zone} is closed: {state.why}")
        stored = await engine.store.command("GET", keys.request(zone, caller.id, key))
        if stored:
            word, _, seq, _, job = _parsed(stored)
            if word != "OK":
                return IdempotencyRecord(key, "refused", code=word.lower())
            return IdempotencyRecord(key, "done", seq=int(seq), job=None if job == "-" else job)
    record = await in_sql.find(engine.archive, caller.id, key)
    if record is None:
        raise NotFound("No request under this key is known")
    if record.code is not None:
        return IdempotencyRecord(key, "refused", code=record.code)
    return IdempotencyRecord(key, "done")
