"""Blocks between a customer and a technician: either may set and remove their own. In Redis the blocks match SQL, even
if commands run at the same time or are lost.
"""

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


async def live_blocks(engine: Engine, user: Principal, other_user: Principal) -> tuple[bool, bool]:
    """Return, for each of two users, whether the other is in their set of blocks in Redis."""
    pairs = ((user.id, other_user.id), (other_user.id, user.id))
    blocked = [await engine.store.redis.sismember(keys.user_blocks(DEFAULT_ZONE, a), b) for a, b in pairs]  # type: ignore[misc]
    return bool(blocked[0]), bool(blocked[1])


@pytest.fixture
async def customer_and_technician(engine: Engine) -> tuple[Principal, Principal]:
    """Create a customer and a technician."""
    return await people.customer(engine), await staff.register_technician(engine)


async def test_only_customers_and_technicians_block_each_other(
    engine: Engine, customer_and_technician: tuple[Principal, Principal]
) -> None:
    """Staff cannot block. A customer cannot block another customer or themselves, and a block that does not exist
    cannot be removed.
    """
    carla, tom = customer_and_technician
    with pytest.raises(Forbidden):
        await blocks.put_block(engine, people.ADMIN, tom.id)
    for who in (await people.customer(engine, "Otto"), carla):
        with pytest.raises(NotFound):
            await blocks.put_block(engine, carla, who.id)
    for nobody in (UserId("usr_none"), tom.id):
        with pytest.raises(NotFound):
            await blocks.lift_block(engine, carla, nobody)
    assert await live_blocks(engine, carla, tom) == (False, False)


async def test_a_block_lasts_until_both_have_removed_it(
    engine: Engine, customer_and_technician: tuple[Principal, Principal]
) -> None:
    """If both parties have blocked each other, each sees and removes only their own block. Redis has the block until
    both have removed theirs.
    """
    carla, tom = customer_and_technician
    await blocks.put_block(engine, carla, tom.id)
    await blocks.put_block(engine, tom, carla.id)
    assert await live_blocks(engine, carla, tom) == (True, True) and await blocks.are_blocked(
        engine, DEFAULT_ZONE, tom.id, carla.id
    )
    await blocks.lift_block(engine, carla, tom.id)
    assert (await blocks.find_blocks(engine, carla)).items == []
    assert [b.id for b in (await blocks.find_blocks(engine, tom)).items] == [carla.id]
    assert await live_blocks(engine, carla, tom) == (True, True)
    await blocks.lift_block(engine, tom, carla.id)
    assert await live_blocks(engine, carla, tom) == (False, False)


async def test_a_second_block_changes_nothing_and_a_key_has_its_first_reply(
    engine: Engine, customer_and_technician: tuple[Principal, Principal]
) -> None:
    """A second block of the same user does not change the first. A repeat under the same key has the first reply, and
    the key of a block is refused for its removal.
    """
    (carla, tom), key = customer_and_technician, str(uuid.uuid4())
    first = await blocks.put_block(engine, carla, tom.id, key=key)
    assert (await blocks.put_block(engine, carla, tom.id)).value == first.value
    again = await blocks.put_block(engine, carla, tom.id, key=key)
    assert again.repeated and again.value == first.value
    with pytest.raises(ReusedKey):
        await blocks.lift_block(engine, carla, tom.id, key=key)


async def test_after_concurrent_blocks_redis_matches_sql(
    engine: Engine, customer_and_technician: tuple[Principal, Principal]
) -> None:
    """When both parties block and remove blocks at the same time, the sets in Redis match SQL in the end, for every
    order of the writes to Redis.
    """
    carla, tom = customer_and_technician

    async def block_or_unblock(index: int) -> None:
        """Block, and remove the block again unless ``index`` is divisible by 3: the customer if ``index`` is odd, else
        the technician.
        """
        who, other = (carla, tom.id) if index % 2 else (tom, carla.id)
        await blocks.put_block(engine, who, other)
        if index % 3:
            await blocks.lift_block(engine, who, other)

    for _ in range(5):
        await asyncio.gather(*(block_or_unblock(index) for index in range(6)), return_exceptions=True)
        async with engine.archive.begin_read() as conn:
            is_blocked = bool((await conn.execute(select(schema.blocks.c.user).where(schema.blocks.c.active))).all())
        assert await live_blocks(engine, carla, tom) == (is_blocked, is_blocked)


async def test_the_maintenance_task_repairs_blocks_in_redis(
    engine: Engine, customer_and_technician: tuple[Principal, Principal]
) -> None:
    """The maintenance task adds blocks that Redis lost, removes blocks from Redis that were removed in SQL, and deletes
    the rows of blocks that were removed long ago.
    """
    carla, tom = customer_and_technician
    other = await people.customer(engine, "Otto")
    await blocks.put_block(engine, carla, tom.id)
    await blocks.put_block(engine, tom, other.id)
    await blocks.lift_block(engine, tom, other.id)
    assert await blocks.repair_blocks(engine) == 0
    await engine.store.redis.delete(keys.user_blocks(DEFAULT_ZONE, carla.id))
    await engine.store.redis.sadd(keys.user_blocks(DEFAULT_ZONE, tom.id), other.id)  # type: ignore[misc]
    assert await blocks.repair_blocks(engine) == 2
    assert await live_blocks(engine, carla, tom) == (True, True) and await live_blocks(engine, tom, other) == (
        False,
        False,
    )
    async with engine.archive.begin_write() as conn:
        await conn.execute(update(schema.blocks).values(since=1))
    assert await blocks.repair_blocks(engine) == 0
    async with engine.archive.begin_read() as conn:
        assert [row.user for row in await conn.execute(select(schema.blocks.c.user))] == [carla.id]
