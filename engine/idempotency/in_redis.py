"""Idempotency keys of commands done in Redis: a repeated command acts once and gets the same answer (promise G2 of
docs/design.md).

An idempotency record in Redis is small: reply word, fingerprint, seq, version and job. The answer is built again from
the event that the command wrote, so that no copy of the job is stored for each command of the last ten minutes.

Commands done in SQL have their records in SQL (``in_sql.py``), written in the same transaction as their effect. Before
that transaction, ``run_once`` reserves the key in Redis, in every zone. Then a command in Redis with this key is
refused. If the key already belongs to a command in Redis, the command in SQL is refused. The reservation stores the
fingerprint of the command. It does not say whether the command ran; only the record in SQL does. If the process dies
before the transaction, the same command can be sent again with this key, and any other command with the key is refused.
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
from engine.rules.emails import REGISTRATION_PREFIX
from engine.store import keys
from engine.store.connection import ScriptReply
from engine.store.scripts import Args
from engine.types import IdempotencyKey, JobId, Principal, UserId, Zone, zone_of
from engine.zone import log

if TYPE_CHECKING:
    from engine.runtime import Engine

T = TypeVar("T")

RESERVED_PREFIX = b"SQL "
"""How the record of a key begins that belongs to a command in SQL (``Idempotency.reserve`` in Lua)."""


class Outcome(msgspec.Struct, frozen=True):
    """The outcome of a command. ``job`` is the job's JSON in the event ``seq``; ``key`` is the command's idempotency
    key; ``repeated``: an earlier request with this key did the command.
    """

    job: msgspec.Raw | None
    message: str | None
    seq: int
    version: int
    repeated: bool
    key: str
    created: bool = True
    """False if a job with the booking's ``reference`` existed already."""
    room: msgspec.Raw | None = None
    """The room of a booked job as JSON, if the job has a room from the booking on."""


class IdempotencyRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """The stored outcome under an idempotency key: ``done``, or ``refused`` with the error code."""

    key: str
    status: Literal["done", "refused"]
    code: str | None = None
    seq: int | None = None
    job: str | None = None


class _JobPayload(msgspec.Struct):
    job: msgspec.Raw


_job_payload_decoder = msgspec.json.Decoder(_JobPayload)
_members_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])


def new_key() -> IdempotencyKey:
    """Return a new key for a caller who sent none. The answer contains the key, so that the caller can repeat the
    command.
    """
    return IdempotencyKey(str(uuid.uuid4()))


def validate_key(key: str | None) -> IdempotencyKey:
    """Return the caller's key, or a new one for None. Raises Invalid if the key is not a UUID: it becomes part of a
    Redis key.
    """
    if key is None:
        return new_key()
    try:
        return IdempotencyKey(str(uuid.UUID(key)))
    except (ValueError, AttributeError):
        raise Invalid("The request key must be a UUID") from None


def fingerprint_of(engine: Engine, command: str, job: str, arguments: Any = None) -> str:
    """Return the fingerprint of a request: HMAC-SHA-256 over command, job and arguments. A request with the same key
    and another fingerprint is not a repeat. The fingerprint is the same on every transport.

    The event's ``cause`` contains the fingerprint. The hash is keyed with the server's key, because a reader of the log
    could find the six digits of a code in a plain hash by trying all of them.
    """
    text = msgspec.json.encode([command, job, arguments], order="deterministic")
    return hmac.digest(engine.signer.derive_key("requests"), text, "sha256").hex()


def parse_job_id(job_id: str) -> tuple[Zone, JobId]:
    """Return zone and id of a job. Raises NotFound if the text cannot be a job's id."""
    zone = zone_of(job_id)
    if zone is None:
        raise NotFound("No such job")
    return zone, JobId(job_id)


async def job_at_event(engine: Engine, zone: Zone, reply: ScriptReply) -> bytes | None:
    """Return the job's JSON in the event ``reply.seq``: a repeat gets the same answer as the first request.

    Raises Indeterminate if the event cannot be read now.
    """
    data = await _payload_at(engine, zone, reply.seq) if reply.seq else None
    return bytes(_job_payload_decoder.decode(data).job) if data else None


async def read_payload_members(engine: Engine, zone: Zone, seq: int) -> dict[str, msgspec.Raw]:
    """Return the members of the payload of the event ``seq``, from which the answer of a command is made.

    Raises Indeterminate if there is no such event any more, or if the event cannot be read now.
    """
    data = await _payload_at(engine, zone, seq)
    if data is None:
        raise Indeterminate("Done, but the result cannot be read any more")
    return _members_decoder.decode(data)


async def _payload_at(engine: Engine, zone: Zone, seq: int) -> bytes | None:
    """Return the payload of the event ``seq`` as JSON, from Redis or from SQL; None if there is no such event.

    Raises Indeterminate if the event cannot be read now: ``unavailable`` would promise that nothing was done.
    """
    try:
        event = await log.read_event(engine.store.read_connection, zone, seq) or await reader.event(
            engine.archive, zone, seq
        )
    except Unavailable as error:
        raise Indeterminate("Done, but its answer cannot be read now; repeat with the same key") from error
    return event.data if event else None


async def find_done_command(
    engine: Engine, zone: Zone, caller: Principal, key: IdempotencyKey, fingerprint: str
) -> ScriptReply | None:
    """Return the reply of the command that was done under ``key``, or None. Call this before checks that precede the
    script: a repeat must get the first reply, even if the checks would decide otherwise now.

    Raises ReusedKey if that command had another fingerprint, Indeterminate if it is not acknowledged yet.
    """
    stored = await engine.store.command("GET", keys.idempotency_record(zone, caller.id, key))
    if stored is None:
        return None
    _, earlier, seq, version, job = _split_record(stored)
    if earlier != fingerprint:
        raise ReusedKey
    await engine.store.acknowledge(zone, int(seq))
    return ScriptReply(True, int(seq), int(version), [job.encode()])


def _split_record(stored: bytes) -> list[str]:
    """Split a record of lua/lib/idempotency.lua into its parts: `WORD fingerprint seq version job`."""
    return stored.decode().split()


async def run_once(
    engine: Engine,
    request: in_sql.KeyedRequest,
    result_type: Any,
    run_in_transaction: Callable[[AsyncConnection], Awaitable[T]],
    *,
    needs_redis: bool = True,
) -> in_sql.Result[T]:
    """Reserve the key in Redis, then call ``in_sql.run_once``. Who registers has no commands in Redis, and their
    principal is their e-mail address, which Redis must not have. Without ``needs_redis`` the command is done also while
    Redis does not answer: a suspension must not wait for Redis. Its key is then reserved nowhere, so a later command in
    Redis under the same key is not refused.

    Raises ReusedKey if it belongs to a command in Redis, Unavailable if Redis does not answer, and the same errors as
    ``in_sql.run_once``.
    """
    zones = () if request.principal.startswith(REGISTRATION_PREFIX) else tuple(engine.store.zones)
    done = await asyncio.gather(*(_reserve_key(engine, zone, request) for zone in zones), return_exceptions=True)
    for error in done:
        # A key that also has a record in SQL was reused in Redis by an older release, or after Redis lost its memory.
        if isinstance(error, ReusedKey) and await in_sql.find_record(engine.archive, request.principal, request.key):
            continue
        if isinstance(error, (Indeterminate, Unavailable)) and not needs_redis:
            continue
        if isinstance(error, Indeterminate):  # the reservation may be made, but the command has not begun
            raise Unavailable(error.detail) from error
        if isinstance(error, BaseException):
            raise error
    return await in_sql.run_once(engine.archive, request, result_type, run_in_transaction)


async def _reserve_key(engine: Engine, zone: Zone, request: in_sql.KeyedRequest) -> None:
    """Reserve the key in a zone. A closed zone does no commands: there the key is only compared, because a zone that is
    rebuilt gets the reservations from SQL.
    """
    name = keys.idempotency_record(zone, UserId(request.principal), request.key)
    if not engine.store.zones[zone].open:
        stored = await engine.store.command("GET", name)
        if stored and not stored.startswith(RESERVED_PREFIX):
            raise ReusedKey
        return
    args: Args = {"fingerprint": request.fingerprint, "ttl_ms": request.ttl_s * 1000}
    await engine.store.run_for_user("key_reserve", keys={"req": name}, args=args)


async def find_record(engine: Engine, caller: Principal, key: str) -> IdempotencyRecord:
    """Return the outcome of the caller's command ``key``. Raises NotFound if the command never arrived or its record
    has expired, Unavailable if a closed zone may have it or a store does not answer, Indeterminate if the command is
    done but not acknowledged yet.
    """
    key = validate_key(key)
    # A key does not say its zone: all open zones are asked at once, in one write to each server.
    zones = [zone for zone, state in engine.store.zones.items() if state.open]
    reads = (engine.store.command("GET", keys.idempotency_record(zone, caller.id, key)) for zone in zones)
    for zone, stored in zip(zones, await asyncio.gather(*reads), strict=True):
        if stored and not stored.startswith(RESERVED_PREFIX):
            word, _, seq, _, job = _split_record(stored)
            if word != "OK":
                return IdempotencyRecord(key, "refused", code=word.lower())
            await engine.store.acknowledge(zone, int(seq))
            return IdempotencyRecord(key, "done", seq=int(seq), job=None if job == "-" else job)
    record = await in_sql.find_record(engine.archive, caller.id, key)
    for zone, state in engine.store.zones.items() if record is None else ():
        if not state.open:
            raise Unavailable(f"zone {zone} is closed: {state.why}")
    if record is None:
        raise NotFound("No request under this key is known")
    if record.code is not None:
        return IdempotencyRecord(key, "refused", code=record.code)
    return IdempotencyRecord(key, "done")
