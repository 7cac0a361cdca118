"""Request keys of commands done in SQL (G2): the verdict is kept in the same transaction as what was done.

So there is no moment in which one is there without the other, and a repeat after any loss finds both or neither.
The key's row is written *first*: a second request with the same key waits on it (SQLite: on the one writer;
PostgreSQL: on the row) until the first has committed, and then finds its verdict. Thus ``in_flight`` needs no
marker that a crash could leave behind.
"""

from __future__ import annotations

import contextlib
import hashlib
import uuid
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, Generic, TypeVar

import msgspec
from sqlalchemy import delete, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import now_ms
from engine.errors import BY_CODE, FieldError, Indeterminate, Invalid, RateLimited, Refused, ReusedKey, Unavailable
from engine.sql.database import Archive
from engine.sql.schema import request_keys

T = TypeVar("T")

STEP_S = 600
CREATION_S = 86_400
REFUSAL_S = 60


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One command as its caller named it. ``keep_s``: how long its verdict is given again, in seconds."""

    principal: str
    key: str
    fingerprint: str
    keep_s: int = STEP_S


class Kept(msgspec.Struct, Generic[T], frozen=True):
    """What came of a command; ``repeated`` where the verdict is an earlier one's; ``key`` as given or made."""

    value: T
    key: str
    repeated: bool = False


class Remembered(msgspec.Struct, frozen=True):
    """A verdict found: ``code`` of a refusal, or None and the result's JSON."""

    fingerprint: str
    code: str | None
    body: bytes


def request(principal: str, key: str | None, command: str, *args: Any, keep_s: int = STEP_S) -> Request:
    """Name a command. Without a ``key`` one is made. Raises Invalid for a key that is no UUID."""
    if key is None:
        key = str(uuid.uuid4())
    else:
        with contextlib.suppress(ValueError):
            key = str(uuid.UUID(key))
            return Request(principal=principal, key=key, fingerprint=_print(command, args), keep_s=keep_s)
        raise Invalid("The request key is no UUID", errors=[FieldError("/key", "Expected a UUID")])
    return Request(principal=principal, key=key, fingerprint=_print(command, args), keep_s=keep_s)


def _print(command: str, args: tuple[Any, ...]) -> str:
    return hashlib.sha256(msgspec.json.encode([command, *args], order="deterministic")).hexdigest()


async def once(archive: Archive, asked: Request, kind: Any, act: Callable[[AsyncConnection], Awaitable[T]]) -> Kept[T]:
    """Do ``act`` in one write transaction with its request key; done before, give the first verdict again.

    ``kind`` is the result's type, to read it back by. Raises what ``act`` refuses (remembered for a minute),
    ReusedKey for the same key with other arguments, and what ``Archive.writing`` raises.
    """
    try:
        async with archive.writing() as conn:
            earlier = await _take(archive, conn, asked)
            if earlier is None:
                value = await act(conn)
                await _keep(conn, asked, body=msgspec.json.encode(value))
                return Kept(value, asked.key)
    except Refused as refusal:
        await _remember_refusal(archive, asked, refusal)
        raise
    return Kept(_again(earlier, asked, kind), asked.key, repeated=True)


@contextlib.contextmanager
def in_effect() -> Iterator[None]:
    """What follows a commit and must be so before the caller hears of it. *Unavailable* there would promise that
    nothing was done, so it becomes Indeterminate: the same key again finds the verdict and tries once more.
    """
    try:
        yield
    except Unavailable as error:
        raise Indeterminate("Done, but not in effect yet; repeat with the same key") from error


async def find(archive: Archive, principal: str, key: str) -> Remembered | None:
    """The verdict kept under ``key`` for ``principal``, if there is one. Raises Unavailable."""
    async with archive.reading() as conn:
        return await _find(conn, principal, key)


async def forget_old(archive: Archive) -> int:
    """Delete verdicts whose time is over; returns how many."""
    async with archive.writing() as conn:
        return (await conn.execute(delete(request_keys).where(request_keys.c.expires_at <= now_ms()))).rowcount


async def _take(archive: Archive, conn: AsyncConnection, asked: Request) -> Remembered | None:
    mine = (request_keys.c.principal == asked.principal) & (request_keys.c.key == asked.key)
    await conn.execute(delete(request_keys).where(mine, request_keys.c.expires_at <= now_ms()))
    row = {"principal": asked.principal, "key": asked.key, "fingerprint": asked.fingerprint}
    insertion = sqlite.insert if archive.is_sqlite else postgresql.insert
    new = insertion(request_keys).values(expires_at=now_ms() + asked.keep_s * 1000, **row)
    if (await conn.execute(new.on_conflict_do_nothing())).rowcount == 1:
        return None
    return await _find(conn, asked.principal, asked.key)


async def _find(conn: AsyncConnection, principal: str, key: str) -> Remembered | None:
    c = request_keys.c
    query = select(c.fingerprint, c.code, c.body).where(c.principal == principal, c.key == key, c.expires_at > now_ms())
    row = (await conn.execute(query)).one_or_none()
    return Remembered(row.fingerprint, row.code, (row.body or "").encode()) if row else None


async def _keep(conn: AsyncConnection, asked: Request, *, body: bytes) -> None:
    mine = (request_keys.c.principal == asked.principal) & (request_keys.c.key == asked.key)
    await conn.execute(update(request_keys).where(mine).values(body=body.decode()))


async def _remember_refusal(archive: Archive, asked: Request, refusal: Refused) -> None:
    """Its failure is not the caller's: the refusal stands, only a repeat would be asked anew."""
    if isinstance(refusal, RateLimited | ReusedKey):
        return
    told = msgspec.json.encode({"detail": refusal.detail, "errors": refusal.errors})
    with contextlib.suppress(Unavailable, Indeterminate):
        async with archive.writing() as conn:
            brief = msgspec.structs.replace(asked, keep_s=REFUSAL_S)
            if await _take(archive, conn, brief) is None:
                mine = (request_keys.c.principal == asked.principal) & (request_keys.c.key == asked.key)
                await conn.execute(update(request_keys).where(mine).values(code=refusal.code, body=told.decode()))


def _again(earlier: Remembered | None, asked: Request, kind: Any) -> Any:
    if earlier is None:
        raise Indeterminate("The first verdict ran out this moment")
    if earlier.fingerprint != asked.fingerprint:
        raise ReusedKey
    if earlier.code is None:
        return msgspec.json.decode(earlier.body, type=kind)
    told = msgspec.json.decode(earlier.body)
    errors = [FieldError(pointer, detail) for pointer, detail in told["errors"]]
    raise BY_CODE[earlier.code](told["detail"], errors=errors, repeated=True)
