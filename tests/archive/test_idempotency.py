"""Idempotency keys of commands done in SQL: the first outcome is final, and is committed together with its effect."""

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
from tests.archive.conftest import Away

ROW = {"name": "n", "category": "c", "base_amount": 1, "currency": "EUR", "pricing": "flat", "duration_min": 60}


async def add(conn: AsyncConnection) -> int:
    """Something that can be seen to have been done twice."""
    await conn.execute(insert(services).values(id=uuid.uuid4().hex, active=True, **ROW))
    return 7


async def done(archive: Archive) -> int:
    async with archive.reading() as conn:
        return (await conn.execute(select(func.count()).select_from(services))).scalar() or 0


def asked(key: str | None = None, *args: object, principal: str = "me") -> in_sql.Request:
    return in_sql.new_request(principal, key, "add", *args)


def test_refuses_a_key_that_is_no_uuid() -> None:
    """A key is a UUID, whatever its letters' case."""
    with pytest.raises(Invalid, match="UUID"):
        asked("mine")
    key = str(uuid.uuid4())
    assert asked(key.upper()).key == key


async def test_refuses_a_key_used_for_something_else(archive: Archive) -> None:
    """The same key with other arguments is a mistake of the caller, and does nothing."""
    first = asked(None, 1)
    await in_sql.run_once(archive, first, int, add)
    with pytest.raises(ReusedKey):
        await in_sql.run_once(archive, asked(first.key, 2), int, add)
    assert await done(archive) == 1


async def test_a_refusal_is_remembered(archive: Archive) -> None:
    """Asked again within a minute, a refusal is given again as it was, without acting; then it is asked anew."""
    calls = 0

    async def refuse(conn: AsyncConnection) -> int:
        nonlocal calls
        calls += 1
        await add(conn)
        raise Duplicate("this one", errors=[FieldError("/email", "taken")])

    request = asked()
    with pytest.raises(Duplicate):
        await in_sql.run_once(archive, request, int, refuse)
    with pytest.raises(Duplicate, match="this one") as again:
        await in_sql.run_once(archive, request, int, refuse)
    assert (calls, await done(archive)) == (1, 0)
    assert again.value.repeated
    assert again.value.errors == [("/email", "taken")]
    found = await in_sql.find_record(archive, "me", request.key)
    assert found is not None
    assert found.code == "duplicate"


async def test_a_limit_is_not_remembered(archive: Archive) -> None:
    """Who was too fast may ask again with the same key."""

    async def refuse(_conn: AsyncConnection) -> int:
        raise RateLimited

    request = asked()
    with pytest.raises(RateLimited):
        await in_sql.run_once(archive, request, int, refuse)
    assert (await in_sql.run_once(archive, request, int, add)).repeated is False


async def test_a_repeat_acts_once_and_answers_the_same(archive: Archive) -> None:
    """The second answer is the first one's, and says so; another principal's key is another key."""
    request = asked()
    first = await in_sql.run_once(archive, request, int, add)
    again = await in_sql.run_once(archive, request, int, add)
    assert (first.value, first.repeated, again.value, again.repeated) == (7, False, 7, True)
    await in_sql.run_once(archive, asked(request.key, principal="you"), int, add)
    assert await done(archive) == 2


async def test_ten_at_once_with_one_key_act_once(archive: Archive) -> None:
    """Repeats that overlap wait for the first and share its verdict."""
    request = asked()
    found = await asyncio.gather(*(in_sql.run_once(archive, request, int, add) for _ in range(10)))
    assert sorted(kept.repeated for kept in found) == [False] + [True] * 9
    assert await done(archive) == 1


async def test_a_verdict_ends(archive: Archive, monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time a key is free again, and the chore deletes what is over."""
    request = asked()
    await in_sql.run_once(archive, request, int, add)
    late = now_ms() + in_sql.COMMAND_TTL_S * 1000 + 1
    monkeypatch.setattr(in_sql, "now_ms", lambda: late)
    assert await in_sql.find_record(archive, "me", request.key) is None
    assert (await in_sql.run_once(archive, request, int, add)).repeated is False
    late += in_sql.COMMAND_TTL_S * 1000 + 1
    assert await in_sql.delete_expired(archive) == 1


async def test_a_database_away_leaves_no_verdict(archive: Archive, away: Away) -> None:
    """Unavailable promises that nothing was done: the same key acts once the database is back."""
    request = asked()
    async with away():
        with pytest.raises(Unavailable):
            await in_sql.run_once(archive, request, int, add)
    assert (await in_sql.run_once(archive, request, int, add)).repeated is False
    assert await done(archive) == 1
