"""Tests of the idempotency keys of commands done in SQL: the first outcome is final, and is committed together with its
effect.
"""

from __future__ import annotations

import asyncio
import uuid

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import now_ms
from engine.errors import Duplicate, FieldError, Invalid, RateLimited, ReusedKey, Unavailable
from engine.idempotency import in_sql
from engine.sql.database import Archive
from engine.sql.schema import services
from tests.archive.conftest import DatabaseAway

SERVICE_ROW = {"name": "n", "category": "c", "base_amount": 1, "currency": "EUR", "pricing": "flat", "duration_min": 60}


async def insert_service(conn: AsyncConnection) -> int:
    """Insert a service, so that the number of services shows how often this ran. Return 7."""
    await conn.execute(insert(services).values(id=uuid.uuid4().hex, active=True, **SERVICE_ROW))
    return 7


async def count_services(archive: Archive) -> int:
    """Return the number of inserted services."""
    async with archive.begin_read() as conn:
        return (await conn.execute(select(func.count()).select_from(services))).scalar() or 0


def create_request(key: str | None = None, *args: object, principal: str = "me") -> in_sql.KeyedRequest:
    """Return a request of `principal` with this key, or with a new key if it is None."""
    return in_sql.new_request(principal, key, "add", *args)


def test_refuses_a_key_that_is_no_uuid() -> None:
    """A key that is not a UUID is `invalid`; upper case letters are stored as lower case."""
    with pytest.raises(Invalid, match="UUID"):
        create_request("mine")
    key = str(uuid.uuid4())
    assert create_request(key.upper()).key == key


async def test_refuses_a_key_used_for_something_else(archive: Archive) -> None:
    """The same key with other arguments is refused with `reused_key` and has no effect."""
    first = create_request(None, 1)
    await in_sql.run_once(archive, first, int, insert_service)
    with pytest.raises(ReusedKey):
        await in_sql.run_once(archive, create_request(first.key, 2), int, insert_service)
    assert await count_services(archive) == 1


async def test_a_refusal_is_stored(archive: Archive) -> None:
    """A repeat of a refused request returns the same refusal, marked as repeated, and the command does
    not run again.
    """
    calls = 0

    async def raise_duplicate(conn: AsyncConnection) -> int:
        nonlocal calls
        calls += 1
        await insert_service(conn)
        raise Duplicate("this one", errors=[FieldError("/email", "taken")])

    request = create_request()
    with pytest.raises(Duplicate):
        await in_sql.run_once(archive, request, int, raise_duplicate)
    with pytest.raises(Duplicate, match="this one") as again:
        await in_sql.run_once(archive, request, int, raise_duplicate)
    assert (calls, await count_services(archive)) == (1, 0)
    assert again.value.repeated
    assert again.value.errors == [("/email", "taken")]
    record = await in_sql.find_record(archive, "me", request.key)
    assert record is not None
    assert record.code == "duplicate"


async def test_a_rate_limit_is_not_stored(archive: Archive) -> None:
    """A `rate_limited` refusal is not stored: the same key may succeed later."""

    async def raise_rate_limited(_conn: AsyncConnection) -> int:
        raise RateLimited

    request = create_request()
    with pytest.raises(RateLimited):
        await in_sql.run_once(archive, request, int, raise_rate_limited)
    assert (await in_sql.run_once(archive, request, int, insert_service)).repeated is False


async def test_a_repeat_acts_once_and_returns_the_same_outcome(archive: Archive) -> None:
    """A repeat returns the first outcome, marked as repeated, and has no effect; the same key of another principal is
    another key.
    """
    request = create_request()
    first = await in_sql.run_once(archive, request, int, insert_service)
    again = await in_sql.run_once(archive, request, int, insert_service)
    assert (first.value, first.repeated, again.value, again.repeated) == (7, False, 7, True)
    await in_sql.run_once(archive, create_request(request.key, principal="you"), int, insert_service)
    assert await count_services(archive) == 2


async def test_ten_at_once_with_one_key_act_once(archive: Archive) -> None:
    """Of ten concurrent requests with one key one acts, and the others wait and return its outcome."""
    request = create_request()
    outcomes = await asyncio.gather(*(in_sql.run_once(archive, request, int, insert_service) for _ in range(10)))
    assert sorted(outcome.repeated for outcome in outcomes) == [False] + [True] * 9
    assert await count_services(archive) == 1


async def test_an_idempotency_record_expires(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """After `COMMAND_TTL_S` a key can be used again, and `delete_expired` removes the expired record."""
    request = create_request()
    await in_sql.run_once(archive, request, int, insert_service)
    late_ms = now_ms() + in_sql.COMMAND_TTL_S * 1000 + 1
    monkeypatch.setattr(in_sql, "now_ms", lambda: late_ms)
    assert await in_sql.find_record(archive, "me", request.key) is None
    assert (await in_sql.run_once(archive, request, int, insert_service)).repeated is False
    late_ms += in_sql.COMMAND_TTL_S * 1000 + 1
    assert await in_sql.delete_expired(archive) == 1


async def test_an_absent_database_stores_no_record(archive: Archive, database_away: DatabaseAway) -> None:
    """A request that is `unavailable` because the database is away stores no record: the same key acts once the
    database is back.
    """
    request = create_request()
    async with database_away():
        with pytest.raises(Unavailable):
            await in_sql.run_once(archive, request, int, insert_service)
    assert (await in_sql.run_once(archive, request, int, insert_service)).repeated is False
    assert await count_services(archive) == 1
