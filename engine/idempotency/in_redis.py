"""Request keys and verdicts: what makes a repeated command act once and answer the same (G2).

A verdict in Redis is small: word, fingerprint, seq, version and job. The answer itself is built again from the
event that the command wrote, so that remembering costs no copy of the job for each command of ten minutes.

Commands done in SQL keep theirs there (engine/idempotency/in_sql.py), in the transaction of what they do. A key that
has stood for a command in Redis is refused to them: they look. The scripts cannot look into SQL, so that the other way
round a reused key goes unnoticed. (Rejected: marking each key of SQL in Redis as well. Two stores cannot decide
together, and a crash between them would refuse a command that was never done, or let the repeat of one pass.)"""

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
from engine.idempotency.in_sql import Kept
from engine.store import keys
from engine.store.connection import Done
from engine.types import JobId, Principal, RequestKey, UserId, Zone, zone_of
from engine.zone import log

if TYPE_CHECKING:
    from engine.runtime import Engine

T = TypeVar("T")


class Outcome(msgspec.Struct, frozen=True):
    """What a command came to. ``job`` is JSON as it stood at ``seq``; ``key`` is the request key it was done under."""

    job: msgspec.Raw | None
    message: str | None
    seq: int
    version: int
    repeated: bool
    key: str
    created: bool = True
    """False where a booking's ``reference`` had a job already."""


class RequestVerdict(msgspec.Struct, frozen=True, omit_defaults=True):
    """The stored verdict on a request key: ``done`` or ``refused`` with the code."""

    key: str
    status: Literal["done", "refused"]
    code: str | None = None
    seq: int | None = None
    job: str | None = None


class _WithJob(msgspec.Struct):
    job: msgspec.Raw


_with_job = msgspec.json.Decoder(_WithJob)


def new_key() -> RequestKey:
    """The key that is made for a caller who gave none; he is told it, so that he can repeat."""
    return RequestKey(str(uuid.uuid4()))


def checked_key(key: str | None) -> RequestKey:
    """The caller's key, or a new one. Raises Invalid for what is not a UUID: it stands in a Redis key."""
    if key is None:
        return new_key()
    try:
        return RequestKey(str(uuid.UUID(key)))
    except (ValueError, AttributeError):
        raise Invalid("The request key must be a UUID") from None


def fingerprint(engine: Engine, command: str, job: str, arguments: Any = None) -> str:
    """HMAC-SHA-256 over command, job and arguments: what tells a repeat from a reused key, alike on every transport.

    It stands in the event's ``cause``. Without the server's key a reader of the log could find the six digits of a code
    by trying all of them.
    """
    text = msgspec.json.encode([command, job, arguments], order="deterministic")
    return hmac.digest(engine.signer.derive("requests"), text, "sha256").hex()


def located(job_id: str) -> tuple[Zone, JobId]:
    """Zone and id of a job. Raises NotFound for what cannot be a job's id."""
    zone = zone_of(job_id)
    if zone is None:
        raise NotFound("No such job")
    return zone, JobId(job_id)


async def job_at(engine: Engine, zone: Zone, done: Done) -> bytes | None:
    """The job as the event ``done.seq`` tells it: the answer to a repeat, the same as the first. Raises as
    ``told_at``.
    """
    data = await told_at(engine, zone, done.seq) if done.seq else None
    return bytes(_with_job.decode(data).job) if data else None


async def told_at(engine: Engine, zone: Zone, seq: int) -> bytes | None:
    """What the event ``seq`` says, as JSON; None where there is none.

    Raises Indeterminate where it cannot be read now: ``unavailable`` would promise that nothing was done.
    """
    try:
        event = await log.at(engine.store.reads, zone, seq) or await reader.event(engine.archive, zone, seq)
    except Unavailable as error:
        raise Indeterminate("Done, but its answer cannot be read now; repeat with the same key") from error
    return event.data if event else None


async def remembered(engine: Engine, zone: Zone, caller: Principal, key: RequestKey, mark: str) -> Done | None:
    """The verdict on what was done under ``key``, for who must know before he gets to a script. Raises ReusedKey."""
    stored = await engine.store.command("GET", keys.request(zone, caller.id, key))
    if stored is None:
        return None
    _, fingerprint, seq, version, job = stored.split()
    if fingerprint.decode() != mark:
        raise ReusedKey
    return Done(True, int(seq), int(version), [job])


async def once(
    engine: Engine, asked: in_sql.Request, kind: Any, act: Callable[[AsyncConnection], Awaitable[T]]
) -> Kept[T]:
    """``verdicts.once`` for a command of this engine. Raises ReusedKey for a key under which its caller gave a command
    that is Redis' to decide, Unavailable where that cannot be asked.
    """
    names = [keys.request(zone, UserId(asked.principal), asked.key) for zone in engine.store.zones]
    taken = await asyncio.gather(*(engine.store.command("EXISTS", name) for name in names))
    # Known to SQL too, it is a repeat that comes after a reuse: its first verdict stands.
    if any(taken) and await in_sql.find(engine.archive, asked.principal, asked.key) is None:
        raise ReusedKey
    return await in_sql.once(engine.archive, asked, kind, act)


async def verdict(engine: Engine, caller: Principal, key: str) -> RequestVerdict:
    """What became of the caller's request ``key``. Raises NotFound: it never arrived, or too long ago."""
    key = checked_key(key)
    for zone, state in engine.store.zones.items():
        if not state.open:
            raise Unavailable(f"zone {zone} is closed: {state.why}")
        stored = await engine.store.command("GET", keys.request(zone, caller.id, key))
        if stored:
            word, _, seq, _, job = stored.decode().split()
            if word != "OK":
                return RequestVerdict(key, "refused", code=word.lower())
            return RequestVerdict(key, "done", seq=int(seq), job=None if job == "-" else job)
    known = await in_sql.find(engine.archive, caller.id, key)
    if known is None:
        raise NotFound("No request under this key is known")
    if known.code is not None:
        return RequestVerdict(key, "refused", code=known.code)
    return RequestVerdict(key, "done")
