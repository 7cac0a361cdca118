"""Technicians in SQL, and the copy of their profiles in Redis.

The copy has the profile's version, and an older version never replaces a newer one. Therefore commands and the
maintenance task may write the copy in any order.
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
from engine.sql.technician_tables import technician_states
from engine.store import keys
from engine.technicians import live
from engine.types import DEFAULT_ZONE, Role, ServiceId, TechnicianId, UserId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

REPAIR_PAGE_SIZE = 500

Kyc = Literal["approved", "rejected", "pending"]
AccountState = Literal["approved", "suspended", "pending"]

log = structlog.get_logger(__name__)


class TechnicianRow(msgspec.Struct, frozen=True, kw_only=True):
    """A technician with all their values in SQL. ``star_sum`` is the sum of their ratings."""

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
    star_sum: int
    rating_count: int

    @property
    def rating(self) -> float:
        """Return the mean of the technician's ratings, weighted with the prior (engine/rules/rating.py)."""
        return rating.bayesian_mean(self.star_sum, self.rating_count)


def account_state(row: TechnicianRow) -> AccountState:
    """Return the state of the technician's account. A suspended user is a suspended technician, independent of the
    result of the review; after reinstatement the result of the review applies again.
    """
    return row.account if row.active and row.role == "technician" else "suspended"


async def create_technician(conn: AsyncConnection, user: UserId) -> None:
    """Create an empty profile, in the transaction that creates the account or gives it the role ``technician``."""
    await conn.execute(
        insert(technicians).values(id=user, zone=DEFAULT_ZONE, capacity=1, kyc="pending", account="pending", version=1)
    )


async def update_after_account_change(conn: AsyncConnection, user: UserId, role: Role) -> None:
    """Raise the profile's version in the transaction that changes the account's role or activity, since the copy in
    Redis depends on both. Creates the profile of a new technician.
    """
    if not await update_technician(conn, TechnicianId(user)) and role == "technician":
        await create_technician(conn, user)


async def publish_to_redis(engine: Engine, user: str, *, offline_reason: str = "ops", actor: str = "engine") -> None:
    """Write the present state of SQL to the record in Redis. Does nothing for a user who is no technician. If the
    technician goes offline because of the new state, the event has ``offline_reason`` and ``actor``. Raises
    Unavailable, Indeterminate."""
    try:
        row = await read_row(engine, TechnicianId(UserId(user)))
    except NotFound:
        return
    await _write_to_redis(engine, row, offline_reason=offline_reason, actor=actor)
    await _remove_from_other_zones(engine, row)


async def _remove_from_other_zones(engine: Engine, row: TechnicianRow) -> None:
    """Remove the technician's records in other open zones. There is one if a process read the row before the technician
    changed the zone, and wrote it after that. If they changed it again meanwhile, write their record again.
    """
    while len(engine.store.zones) > 1:
        others = [zone for zone, state in engine.store.zones.items() if zone != row.zone and state.open]
        await asyncio.gather(*(_try_remove_record(engine, zone, row.id) for zone in others))
        zone, row = row.zone, await read_row(engine, row.id)
        if row.zone == zone:
            return
        await _write_to_redis(engine, row)


async def try_publish_to_redis(engine: Engine, user: str) -> None:
    """Do the same as ``publish_to_redis``, but only log an error: ``repair_redis`` writes the record later."""
    try:
        await publish_to_redis(engine, user)
    except CalloutError as error:
        log.warning("profile_not_published", technician=user, error=str(error))


async def repair_redis(engine: Engine) -> int:
    """Write every record that is missing in Redis or has an older profile version there. Returns the number of written
    records.

    Reads all technicians, page by page, since an emptied Redis has lost the records and SQL does not record that.
    """
    written, last = 0, ""
    while True:
        page = (
            select_all_technicians().where(technicians.c.id > last).order_by(technicians.c.id).limit(REPAIR_PAGE_SIZE)
        )
        async with engine.archive.begin_read() as conn:
            rows = await load_rows(conn, page)
        if not rows:
            return written
        for row, version in zip(rows, await _versions_in_redis(engine, rows), strict=True):
            if version < row.version:
                await _write_to_redis(engine, row)
                await _remove_from_other_zones(engine, await read_row(engine, row.id))
                written += 1
        last = rows[-1].id


async def _versions_in_redis(engine: Engine, rows: Sequence[TechnicianRow]) -> list[int]:
    reads = (engine.store.command("HGET", keys.technician(row.zone, row.id), "profile") for row in rows)
    return [int(version or 0) for version in await asyncio.gather(*reads)]


async def _try_remove_record(engine: Engine, zone: Zone, technician: TechnicianId) -> None:
    """Remove the record, if there is one, but only log an error: a zone that cannot be reached must not delay a
    suspension.
    """
    try:
        if await engine.store.command("EXISTS", keys.technician(zone, technician)):
            await live.remove_from_zone(engine, zone, technician)
    except CalloutError as error:
        log.error("record_in_another_zone", technician=technician, zone=zone, error=str(error) or error.code)


async def _write_to_redis(
    engine: Engine, row: TechnicianRow, *, offline_reason: str = "ops", actor: str = "engine"
) -> None:
    if row.zone not in engine.store.zones:  # `callout doctor` reports it
        return
    record = msgspec.structs.replace(record_of_row(row), **await _read_counters(engine, row))
    await live.write_record(engine, record, reason=offline_reason, actor=actor)


async def _read_counters(engine: Engine, row: TechnicianRow) -> dict[str, int]:
    """Return what the archive counted of the technician in their zone, if they may have been there before."""
    if len(engine.store.zones) == 1:
        return {}
    columns = technician_states.c
    query = select(columns.accepted, columns.asked, columns.free_at)
    query = query.where(columns.technician == row.id, columns.zone == row.zone)
    async with engine.archive.begin_read() as conn:
        found = (await conn.execute(query)).mappings().one_or_none()
    return dict(found) if found else {}


def record_of_row(row: TechnicianRow) -> live.TechnicianRecord:
    """Return the part of the technician's profile that Redis has."""
    return live.TechnicianRecord(
        id=row.id,
        zone=row.zone,
        version=row.version,
        complete=bool(row.name and row.zone and row.services),
        kyc=row.kyc,
        account=account_state(row),
        capacity=row.capacity,
        services=tuple(row.services),
        name=row.name,
        phone=row.phone,
        rating=row.rating,
        rating_count=row.rating_count,
    )


async def update_technician(conn: AsyncConnection, technician: TechnicianId, **values: Any) -> bool:
    """Set the columns in ``values`` and raise the profile's version. Returns False if there is no such technician."""
    change = update(technicians).where(technicians.c.id == technician)
    return (await conn.execute(change.values(version=technicians.c.version + 1, **values))).rowcount == 1


def select_all_technicians() -> Select[Any]:
    """Return the query for all technicians. Callers add conditions and pass the query to ``load_rows``."""
    person = (users.c.name, users.c.phone, users.c.role, users.c.active)
    columns = [column for column in technicians.c if column.name not in ("stars", "rated")]
    ratings = (technicians.c.stars.label("star_sum"), technicians.c.rated.label("rating_count"))
    return select(*columns, *ratings, *person).join(users, users.c.id == technicians.c.id)


async def load_rows(conn: AsyncConnection, query: Select[Any]) -> list[TechnicianRow]:
    """Return the rows of ``query``, a query from ``select_all_technicians``."""
    rows = list((await conn.execute(query)).mappings())
    columns = technician_services.c
    services: dict[str, list[ServiceId]] = {row["id"]: [] for row in rows}
    pairs = (
        select(columns.technician, columns.service).where(columns.technician.in_(services)).order_by(columns.service)
    )
    for technician, service in await conn.execute(pairs):
        services[technician].append(service)
    return [TechnicianRow(**row, services=services[row["id"]]) for row in rows]


async def read_row(engine: Engine, technician: TechnicianId) -> TechnicianRow:
    """Return one technician. Raises NotFound."""
    async with engine.archive.begin_read() as conn:
        rows = await load_rows(conn, select_all_technicians().where(technicians.c.id == technician))
    if not rows:
        raise NotFound
    return rows[0]
