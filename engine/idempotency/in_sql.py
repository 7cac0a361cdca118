"""Idempotency keys of commands done in SQL: the record is written in the transaction of the command's effect (promise
G2 of docs/design.md).

Record and effect are committed together, so a repeat after any failure finds both or neither. The key's row is written
*first*: a second request with the same key waits on it (SQLite: on the only writer; PostgreSQL: on the row) until the
first has committed, and then finds its record. So ``in_flight`` needs no marker that a crash could leave behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import ColumnElement, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import now_ms
from engine.errors import (
    ERROR_OF_CODE,
    FieldError,
    Indeterminate,
    Invalid,
    RateLimited,
    Refused,
    ReusedKey,
    Unavailable,
)
from engine.sql.database import Archive
from engine.sql.insert import insert_into
from engine.sql.schema import idempotency_records as records

T = TypeVar("T")

COMMAND_TTL_S = 600
CREATION_TTL_S = 86_400
REFUSAL_TTL_S = 60
"""How long the records of commands, of creations and of refusals are stored, in seconds."""


class KeyedRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A command under its idempotency key. Its record expires after ``ttl_s`` seconds."""

    principal: str
    key: str
    fingerprint: str
    ttl_s: int = COMMAND_TTL_S


class Result(msgspec.Struct, Generic[T], frozen=True):
    """The result of a command. ``key`` is that of the caller, or the new key; ``repeated``: an earlier request with
    this key did the command.
    """

    value: T
    key: str
    repeated: bool = False


class StoredOutcome(msgspec.Struct, frozen=True):
    """A stored idempotency record: the error ``code`` of a refusal, or None and the result's JSON."""

    fingerprint: str
    code: str | None
    body: bytes


def new_request(principal: str, key: str | None, command: str, *args: Any, ttl_s: int = COMMAND_TTL_S) -> KeyedRequest:
    """Return the request for a command. If ``key`` is None, a new key is generated. Raises Invalid if the key is not a
    UUID.
    """
    if key is None:
        key = str(uuid.uuid4())
    else:
        with contextlib.suppress(ValueError):
            key = str(uuid.UUID(key))
            return KeyedRequest(principal=principal, key=key, fingerprint=_fingerprint_of(command, args), ttl_s=ttl_s)
        raise Invalid("The request key is no UUID", errors=[FieldError("/key", "Expected a UUID")])
    return KeyedRequest(principal=principal, key=key, fingerprint=_fingerprint_of(command, args), ttl_s=ttl_s)


def _fingerprint_of(command: str, args: tuple[Any, ...]) -> str:
    return hashlib.sha256(msgspec.json.encode([command, *args], order="deterministic")).hexdigest()


async def run_once(
    archive: Archive,
    request: KeyedRequest,
    result_type: Any,
    run_in_transaction: Callable[[AsyncConnection], Awaitable[T]],
) -> Result[T]:
    """Run ``run_in_transaction`` in one write transaction together with its idempotency key, or return the recorded
    result.

    ``result_type`` is the type of the result, to decode the recorded JSON. Raises the errors of ``run_in_transaction``
    (a refusal is recorded for a minute, and raised again for a repeat), ReusedKey for the same key with other
    arguments, and the same errors as ``Archive.begin_write``."""
    try:
        async with archive.begin_write() as conn:
            earlier = await _insert_key(archive, conn, request)
            if earlier is None:
                value = await run_in_transaction(conn)
                await conn.execute(
                    update(records).where(_key_condition(request)).values(body=msgspec.json.encode(value).decode())
                )
                return Result(value, request.key)
    except Refused as refusal:
        await _record_refusal(archive, request, refusal)
        raise
    return Result(_replay_record(earlier, request, result_type), request.key, repeated=True)


@contextlib.contextmanager
def unavailable_as_indeterminate() -> Iterator[None]:
    """Raise Indeterminate instead of Unavailable. Use this around effects that follow a commit and must be complete
    before the caller gets an answer.

    *Unavailable* would promise that nothing was done, but the commit was. A repeat with the same key finds the record
    and tries the effects again.
    """
    try:
        yield
    except Unavailable as error:
        raise Indeterminate("Done, but not in effect yet; repeat with the same key") from error


async def find_record(archive: Archive, principal: str, key: str) -> StoredOutcome | None:
    """Return the record under ``key`` of ``principal``, or None. Raises Unavailable."""
    async with archive.begin_read() as conn:
        return await _select_record(conn, principal, key)


async def delete_expired(archive: Archive) -> int:
    """Delete the expired records; return their number."""
    async with archive.begin_write() as conn:
        return (await conn.execute(delete(records).where(records.c.expires_at <= now_ms()))).rowcount


def _key_condition(request: KeyedRequest) -> ColumnElement[bool]:
    return (records.c.principal == request.principal) & (records.c.key == request.key)


async def _insert_key(archive: Archive, conn: AsyncConnection, request: KeyedRequest) -> StoredOutcome | None:
    """Insert the row of a new key and return None, or return the record that has the key already."""
    await conn.execute(delete(records).where(_key_condition(request), records.c.expires_at <= now_ms()))
    row = {"principal": request.principal, "key": request.key, "fingerprint": request.fingerprint}
    new = insert_into(archive, records).values(expires_at=now_ms() + request.ttl_s * 1000, **row)
    if (await conn.execute(new.on_conflict_do_nothing())).rowcount == 1:
        return None
    return await _select_record(conn, request.principal, request.key)


async def _select_record(conn: AsyncConnection, principal: str, key: str) -> StoredOutcome | None:
    columns = records.c
    query = select(columns.fingerprint, columns.code, columns.body).where(
        columns.principal == principal, columns.key == key, columns.expires_at > now_ms()
    )
    row = (await conn.execute(query)).one_or_none()
    return StoredOutcome(row.fingerprint, row.code, (row.body or "").encode()) if row else None


async def _record_refusal(archive: Archive, request: KeyedRequest, refusal: Refused) -> None:
    """Record a refusal for a minute. A failure to record is ignored: the caller gets the refusal in any case, and only
    a repeat would run the command again.
    """
    if isinstance(refusal, RateLimited | ReusedKey):
        return
    body = msgspec.json.encode({"detail": refusal.detail, "errors": refusal.errors}).decode()
    with contextlib.suppress(Unavailable, Indeterminate):
        async with archive.begin_write() as conn:
            brief = msgspec.structs.replace(request, ttl_s=REFUSAL_TTL_S)
            if await _insert_key(archive, conn, brief) is None:
                await conn.execute(update(records).where(_key_condition(request)).values(code=refusal.code, body=body))


def _replay_record(earlier: StoredOutcome | None, request: KeyedRequest, result_type: Any) -> Any:
    """Return the recorded result, or raise the recorded refusal. Raises ReusedKey if the fingerprint differs,
    Indeterminate if the record has just expired.
    """
    if earlier is None:
        raise Indeterminate("The record of the first request has just expired")
    if earlier.fingerprint != request.fingerprint:
        raise ReusedKey
    if earlier.code is None:
        return msgspec.json.decode(earlier.body, type=result_type)
    refusal = msgspec.json.decode(earlier.body)
    errors = [FieldError(pointer, detail) for pointer, detail in refusal["errors"]]
    raise ERROR_OF_CODE[earlier.code](refusal["detail"], errors=errors, repeated=True)
