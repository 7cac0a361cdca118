"""Blocks: a customer and a technician who are not matched with each other. Either may block the other, and is not
informed of a block by the other.

SQL is the source. In Redis each of the two has, in every zone, a set of the users whom they blocked or who blocked
them; waves and late joins read these sets. The sets are written after the commit from the state of SQL at that time,
and again if SQL has changed meanwhile: the later of two concurrent commands determines the result. The row of a lifted
block remains for ``LIFTED_BLOCK_TTL_MS``, so that ``repair_blocks`` can correct Redis.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec
from sqlalchemy import and_, delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import now_ms
from engine.domain.zones import readable_zones
from engine.errors import FieldError, Invalid, NotFound
from engine.events import rfc3339_of
from engine.idempotency import in_redis, in_sql
from engine.idempotency.in_sql import Result
from engine.identity import audit_events
from engine.roles import PARTY_ROLES, require_role
from engine.sql.insert import insert_into
from engine.sql.paging import Slice, check_limit, decode_cursor, make_slice
from engine.sql.schema import blocks, users
from engine.store import keys
from engine.store.scripts import Args
from engine.types import Principal, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_BLOCKS = 1_000
"""How many users one user may block."""
REPAIR_PAGE_SIZE = 500
LIFTED_BLOCK_TTL_MS = 600_000
"""How long the row of a lifted block remains, so that a delayed copy of the block in Redis is undone."""


class Block(msgspec.Struct, frozen=True):
    """A block: a user whom the caller blocked, and the time of the block."""

    id: UserId
    name: str
    since: str


async def find_blocks(engine: Engine, caller: Principal, *, limit: int = 50, cursor: str | None = None) -> Slice[Block]:
    """Return the users whom the caller blocked, the latest first. Raises Forbidden, Invalid (limit, cursor)."""
    require_role(caller, PARTY_ROLES)
    check_limit(limit)
    columns = blocks.c
    rows = select(columns.other, columns.since, users.c.name).join(users, users.c.id == columns.other)
    rows = (
        rows.where(columns.user == caller.id, columns.active)
        .order_by(columns.since.desc(), columns.other.desc())
        .limit(limit + 1)
    )
    if cursor is not None:
        since, last = decode_cursor(cursor, tuple[int, str])
        rows = rows.where((columns.since < since) | ((columns.since == since) & (columns.other < last)))
    async with engine.archive.begin_read() as conn:
        loaded = list((await conn.execute(rows)).all())
    page = make_slice(loaded, limit, lambda row: (row.since, row.other))
    return Slice([Block(row.other, row.name, rfc3339_of(row.since)) for row in page.items], page.next)


async def put_block(engine: Engine, caller: Principal, blocked: UserId, *, key: str | None = None) -> Result[Block]:
    """Block a technician or, as a technician, a customer; a repeat changes nothing. Open offers between the two are
    withdrawn.

    Raises Forbidden for a caller who is neither customer nor technician, NotFound if ``blocked`` is not a user of the
    other side, Invalid if the caller already has ``MAX_BLOCKS`` blocks.
    """
    require_role(caller, PARTY_ROLES)

    async def run_in_transaction(conn: AsyncConnection) -> Block:
        name = await _name_of_other(conn, caller, blocked)
        mine, since = _pair_condition(caller.id, blocked), now_ms()
        count = select(func.count()).where(blocks.c.user == caller.id, blocks.c.other != blocked, blocks.c.active)
        if (await conn.execute(count)).scalar_one() >= MAX_BLOCKS:
            raise Invalid(errors=[FieldError("", f"At most {MAX_BLOCKS}")])
        row = insert_into(engine.archive, blocks).values(user=caller.id, other=blocked, since=since, active=True)
        await conn.execute(row.on_conflict_do_nothing())
        await conn.execute(update(blocks).where(mine, blocks.c.active.is_(False)).values(since=since, active=True))
        await audit_events.add_row(conn, audit_events.actor_of(caller), "block_set", "user", blocked)
        valid_since = (await conn.execute(select(blocks.c.since).where(mine))).scalar_one()
        return Block(blocked, name, rfc3339_of(valid_since))

    request = in_sql.new_request(caller.id, key, "block", blocked)
    result = await in_redis.run_once(engine, request, Block, run_in_transaction)
    with in_sql.unavailable_as_indeterminate():
        await publish_block(engine, caller.id, blocked)
    return result


async def lift_block(engine: Engine, caller: Principal, blocked: UserId, *, key: str | None = None) -> Result[UserId]:
    """Remove the caller's own block; a block that the other user set remains. Raises Forbidden, NotFound if the caller
    has not blocked ``blocked``.
    """
    require_role(caller, PARTY_ROLES)

    async def run_in_transaction(conn: AsyncConnection) -> UserId:
        mine = update(blocks).where(_pair_condition(caller.id, blocked), blocks.c.active)
        if (await conn.execute(mine.values(active=False, since=now_ms()))).rowcount == 0:
            raise NotFound("You have not blocked this user")
        await audit_events.add_row(conn, audit_events.actor_of(caller), "block_lifted", "user", blocked)
        return blocked

    request = in_sql.new_request(caller.id, key, "unblock", blocked)
    result = await in_redis.run_once(engine, request, UserId, run_in_transaction)
    with in_sql.unavailable_as_indeterminate():
        await publish_block(engine, caller.id, blocked)
    return result


async def are_blocked(engine: Engine, zone: Zone, user: UserId, other_user: UserId) -> bool:
    """Return whether one of the two users blocked the other, by the sets in Redis that waves use. Raises
    Unavailable.
    """
    return bool(await engine.store.command("SISMEMBER", keys.user_blocks(zone, user), other_user))


async def publish_block(engine: Engine, user: UserId, other_user: UserId) -> None:
    """Write the block's state in SQL to the sets of both users in every open zone. Raises Unavailable if none is
    open.
    """
    blocked = await _is_blocked(engine, user, other_user)
    while True:
        for zone in readable_zones(engine):  # in a closed zone the sets are corrected later (repair_blocks)
            names = {
                "meta": keys.zone_meta(zone),
                "mine": keys.user_blocks(zone, user),
                "theirs": keys.user_blocks(zone, other_user),
                "log": keys.log(zone),
            }
            args: Args = {"one": user, "other": other_user, "blocked": int(blocked)}
            await engine.store.run(zone, "block_put", keys=names, args=args)
        if blocked == (blocked := await _is_blocked(engine, user, other_user)):
            return


async def repair_blocks(engine: Engine) -> int:
    """Correct the sets that differ from SQL (an emptied Redis has none), and delete the rows of blocks that were lifted
    long ago. Returns the number of corrected pairs.
    """
    corrected, last = 0, ("", "")
    while rows := await _read_block_page(engine, last):
        for row in rows:
            if not await _is_up_to_date_in_redis(engine, row.user, row.other, blocked=row.active or bool(row.returned)):
                await publish_block(engine, row.user, row.other)
                corrected += 1
        last = (rows[-1].user, rows[-1].other)
    async with engine.archive.begin_write() as conn:
        old = and_(blocks.c.active.is_(False), blocks.c.since < now_ms() - LIFTED_BLOCK_TTL_MS)
        await conn.execute(delete(blocks).where(old))
    return corrected


async def _read_block_page(engine: Engine, last_pair: tuple[str, str]) -> Sequence[Any]:
    columns, back = blocks.c, blocks.alias()
    both = and_(back.c.user == columns.other, back.c.other == columns.user)
    query = select(columns.user, columns.other, columns.active, back.c.active.label("returned")).outerjoin(back, both)
    after = (columns.user > last_pair[0]) | ((columns.user == last_pair[0]) & (columns.other > last_pair[1]))
    async with engine.archive.begin_read() as conn:
        return (
            await conn.execute(query.where(after).order_by(columns.user, columns.other).limit(REPAIR_PAGE_SIZE))
        ).all()


async def _is_up_to_date_in_redis(engine: Engine, user: UserId, other_user: UserId, *, blocked: bool) -> bool:
    sides = [
        (keys.user_blocks(zone, a), b)
        for zone in readable_zones(engine)
        for a, b in ((user, other_user), (other_user, user))
    ]
    found = await asyncio.gather(*(engine.store.command("SISMEMBER", key, who) for key, who in sides))
    return all(bool(each) == blocked for each in found)


async def _is_blocked(engine: Engine, user: UserId, other_user: UserId) -> bool:
    query = (
        select(blocks.c.user)
        .where(_pair_condition(user, other_user) | _pair_condition(other_user, user), blocks.c.active)
        .limit(1)
    )
    async with engine.archive.begin_read() as conn:
        return (await conn.execute(query)).one_or_none() is not None


async def _name_of_other(conn: AsyncConnection, caller: Principal, other_user: UserId) -> str:
    """Return the name of ``other_user``, who must be a technician if the caller is a customer, and a customer
    otherwise. Raises NotFound if they are not.
    """
    side = "technician" if caller.role == "customer" else "customer"
    name = (await conn.execute(select(users.c.name).where(users.c.id == other_user, users.c.role == side))).scalar()
    if name is None:
        raise NotFound(f"No such {side}")
    return str(name)


def _pair_condition(user: str, other_user: str) -> Any:
    return and_(blocks.c.user == user, blocks.c.other == other_user)
