"""What SQL knows of technicians, and its copy in Redis.

The copy carries the profile's version and never goes back, so that any number of writers, a command and the chore
that looks after it, may put it in any order.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec
import structlog
from sqlalchemy import Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import CalloutError, NotFound
from engine.rules import rating
from engine.sql.schema import technician_services, technicians, users
from engine.store import keys
from engine.technicians import live as hot
from engine.types import DEFAULT_ZONE, Role, ServiceId, TechnicianId, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

REPAIR_PAGE = 500

Kyc = Literal["approved", "rejected", "pending"]
AccountState = Literal["approved", "suspended", "pending"]

log = structlog.get_logger(__name__)


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that SQL knows of a technician."""

    id: TechnicianId
    zone: Zone
    capacity: int
    kyc: Kyc
    account: AccountState
    reason: str | None
    version: int
    name: str
    phone: str | None
    role: Role
    active: bool
    services: list[ServiceId]
    stars: int
    rated: int

    @property
    def rating(self) -> float:
        """The mean of his ratings with the prior."""
        return rating.mean(self.stars, self.rated)


def account_of(row: Row) -> AccountState:
    """A suspended user is a suspended technician, whatever the review said; reinstated, the review stands again."""
    return row.account if row.active and row.role == "technician" else "suspended"


async def create(conn: AsyncConnection, user: UserId) -> None:
    """A profile with nothing in it yet, in the transaction that makes the account (or its role)."""
    await conn.execute(
        insert(technicians).values(id=user, zone=DEFAULT_ZONE, capacity=1, kyc="pending", account="pending", version=1)
    )


async def account_changed(conn: AsyncConnection, user: UserId, role: Role) -> None:
    """The account's role or activity changes in this transaction: so does what the hot record says of him."""
    if not await touch(conn, TechnicianId(user)) and role == "technician":
        await create(conn, user)


async def publish(engine: Engine, user: str, *, why: str = "ops", actor: str = "engine") -> None:
    """Bring the hot record to what SQL says now; no technician, nothing to do. ``why`` and ``actor`` are told of a
    technician who goes offline by it. Raises Unavailable, Indeterminate.
    """
    try:
        row = await find_one(engine, TechnicianId(UserId(user)))
    except NotFound:
        return
    await _put(engine, row, why=why, actor=actor)


async def publish_soon(engine: Engine, user: str) -> None:
    """The same where nobody depends on it: what fails now is done by ``repair``."""
    try:
        await publish(engine, user)
    except CalloutError as error:
        log.warning("profile_not_published", technician=user, error=str(error))


async def repair(engine: Engine) -> int:
    """Put every hot record that is missing or of an older profile version; returns how many there were.

    Goes through all technicians, a page at a time: an emptied Redis has lost them whatever SQL believes.
    """
    put, last = 0, ""
    while True:
        page = everybody().where(technicians.c.id > last).order_by(technicians.c.id).limit(REPAIR_PAGE)
        async with engine.archive.reading() as conn:
            rows = await load(conn, page)
        if not rows:
            return put
        for row, version in zip(rows, await _hot_versions(engine, rows), strict=True):
            if version < row.version:
                await _put(engine, row)
                put += 1
        last = rows[-1].id


async def _hot_versions(engine: Engine, rows: Sequence[Row]) -> list[int]:
    asked = (engine.store.command("HGET", keys.technician(row.zone, row.id), "profile") for row in rows)
    return [int(version or 0) for version in await asyncio.gather(*asked)]


async def _put(engine: Engine, row: Row, *, why: str = "ops", actor: str = "engine") -> None:
    record = hot.TechnicianRecord(
        id=row.id,
        zone=row.zone,
        version=row.version,
        complete=bool(row.name and row.zone and row.services),
        kyc=row.kyc,
        account=account_of(row),
        capacity=row.capacity,
        services=tuple(row.services),
        name=row.name,
        phone=row.phone,
        rating=row.rating,
        rating_count=row.rated,
    )
    await hot.put(engine, record, why=why, actor=actor)


async def touch(conn: AsyncConnection, technician: TechnicianId, **values: Any) -> bool:
    """Set ``values`` and raise the profile's version; False where there is no such technician."""
    change = update(technicians).where(technicians.c.id == technician)
    return (await conn.execute(change.values(version=technicians.c.version + 1, **values))).rowcount == 1


def everybody() -> Select[Any]:
    """Every technician, to be narrowed and given to ``load``."""
    person = (users.c.name, users.c.phone, users.c.role, users.c.active)
    return select(technicians, *person).join(users, users.c.id == technicians.c.id)


async def load(conn: AsyncConnection, query: Select[Any]) -> list[Row]:
    """What ``query``, made from ``everybody``, finds."""
    rows = list((await conn.execute(query)).mappings())
    c = technician_services.c
    able: dict[str, list[ServiceId]] = {row["id"]: [] for row in rows}
    pairs = select(c.technician, c.service).where(c.technician.in_(able)).order_by(c.service)
    for technician, service in await conn.execute(pairs):
        able[technician].append(service)
    return [Row(**row, services=able[row["id"]]) for row in rows]


async def find_one(engine: Engine, technician: TechnicianId) -> Row:
    """One technician. Raises NotFound."""
    async with engine.archive.reading() as conn:
        rows = await load(conn, everybody().where(technicians.c.id == technician))
    if not rows:
        raise NotFound
    return rows[0]
