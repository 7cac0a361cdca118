"""Blocks: set and lifted by either side, true in Redis whatever crosses or is lost."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from sqlalchemy import select, update

from engine.domain import blocks
from engine.errors import Forbidden, NotFound, ReusedKey
from engine.runtime import Engine
from engine.sql import schema
from engine.store import keys
from engine.types import DEFAULT_ZONE, Principal, UserId
from tests.engine import staff
from tests.support import people


async def hot(engine: Engine, one: Principal, other: Principal) -> tuple[bool, bool]:
    """Whether each stands in the other's set."""
    pairs = ((one.id, other.id), (other.id, one.id))
    found = [await engine.store.redis.sismember(keys.blocks(DEFAULT_ZONE, a), b) for a, b in pairs]  # type: ignore[misc]
    return bool(found[0]), bool(found[1])


@pytest.fixture
async def pair(engine: Engine) -> tuple[Principal, Principal]:
    """A customer and a technician."""
    return await people.customer(engine), await staff.registered(engine)


async def test_only_the_two_sides_of_a_job_block_each_other(engine: Engine, pair: tuple[Principal, Principal]) -> None:
    """Not staff, not one's own side, not oneself, nobody who is not there; and nothing is there to lift."""
    carla, tom = pair
    with pytest.raises(Forbidden):
        await blocks.put(engine, people.ADMIN, tom.id)
    for who in (await people.customer(engine, "Otto"), carla):
        with pytest.raises(NotFound):
            await blocks.put(engine, carla, who.id)
    for nobody in (UserId("usr_none"), tom.id):
        with pytest.raises(NotFound):
            await blocks.lift(engine, carla, nobody)
    assert await hot(engine, carla, tom) == (False, False)


async def test_a_block_stands_as_long_as_one_of_the_two_has_it(
    engine: Engine, pair: tuple[Principal, Principal]
) -> None:
    """Each sees and lifts his own alone; in Redis both are kept apart until the last of the two is lifted."""
    carla, tom = pair
    await blocks.put(engine, carla, tom.id)
    await blocks.put(engine, tom, carla.id)
    assert await hot(engine, carla, tom) == (True, True) and await blocks.are_blocked(
        engine, DEFAULT_ZONE, tom.id, carla.id
    )
    await blocks.lift(engine, carla, tom.id)
    assert (await blocks.find(engine, carla)).items == []
    assert [b.id for b in (await blocks.find(engine, tom)).items] == [carla.id]
    assert await hot(engine, carla, tom) == (True, True)
    await blocks.lift(engine, tom, carla.id)
    assert await hot(engine, carla, tom) == (False, False)


async def test_again_changes_nothing_and_a_key_is_answered_as_it_was(
    engine: Engine, pair: tuple[Principal, Principal]
) -> None:
    """A second block keeps the first one's time; the same key gives the first answer, and is good for one thing."""
    (carla, tom), key = pair, str(uuid.uuid4())
    first = await blocks.put(engine, carla, tom.id, key=key)
    assert (await blocks.put(engine, carla, tom.id)).value == first.value
    again = await blocks.put(engine, carla, tom.id, key=key)
    assert again.repeated and again.value == first.value
    with pytest.raises(ReusedKey):
        await blocks.lift(engine, carla, tom.id, key=key)


async def test_of_commands_that_cross_the_last_in_sql_stands(engine: Engine, pair: tuple[Principal, Principal]) -> None:
    """Whatever order the copies reach Redis in, both sets say what SQL says in the end."""
    carla, tom = pair

    async def turn(n: int) -> None:
        who, other = (carla, tom.id) if n % 2 else (tom, carla.id)
        await blocks.put(engine, who, other)
        if n % 3:
            await blocks.lift(engine, who, other)

    for _ in range(5):
        await asyncio.gather(*(turn(n) for n in range(6)), return_exceptions=True)
        async with engine.archive.reading() as conn:
            stands = bool((await conn.execute(select(schema.blocks.c.user).where(schema.blocks.c.active))).all())
        assert await hot(engine, carla, tom) == (stands, stands)


async def test_what_redis_lost_or_kept_wrongly_is_put_right(engine: Engine, pair: tuple[Principal, Principal]) -> None:
    """An emptied Redis has its blocks back with the next chore, a lifted one that stayed is taken out; what was lifted
    long ago is forgotten.
    """
    carla, tom = pair
    other = await people.customer(engine, "Otto")
    await blocks.put(engine, carla, tom.id)
    await blocks.put(engine, tom, other.id)
    await blocks.lift(engine, tom, other.id)
    assert await blocks.repair(engine) == 0
    await engine.store.redis.delete(keys.blocks(DEFAULT_ZONE, carla.id))
    await engine.store.redis.sadd(keys.blocks(DEFAULT_ZONE, tom.id), other.id)  # type: ignore[misc]
    assert await blocks.repair(engine) == 2
    assert await hot(engine, carla, tom) == (True, True) and await hot(engine, tom, other) == (False, False)
    async with engine.archive.writing() as conn:
        await conn.execute(update(schema.blocks).values(since=1))
    assert await blocks.repair(engine) == 0
    async with engine.archive.reading() as conn:
        assert [row.user for row in await conn.execute(select(schema.blocks.c.user))] == [carla.id]
