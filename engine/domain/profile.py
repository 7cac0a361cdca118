"""Technicians' profiles. SQL is the source; each command also updates the copy in Redis, in the technician's zone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.domain.zones import zone_of_place
from engine.errors import CalloutError, FieldError, Forbidden, Invalid, NotFound, OutOfArea
from engine.idempotency import in_redis, in_sql
from engine.idempotency.in_sql import Result
from engine.identity import audit_events, outbox
from engine.roles import MANAGERS, REVIEWER_ROLES, require_role
from engine.sql.paging import Slice, check_limit, decode_cursor, make_slice
from engine.sql.schema import services, technician_services, technicians, users
from engine.store import keys
from engine.technicians import live, sql
from engine.technicians.sql import AccountState, Kyc, TechnicianRow
from engine.types import DEFAULT_ZONE, Principal, ServiceId, TechnicianId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_SERVICES = 50
MAX_CAPACITY = 1_000
NEARBY_RADIUS_M = 15_000


class Technician(msgspec.Struct, frozen=True, kw_only=True):
    """A profile with all fields, for the technician and managers. ``load`` and ``online`` are read from Redis."""

    id: TechnicianId
    name: str
    phone: str | None
    services: list[ServiceId]
    zone: Zone
    capacity: int
    load: int
    kyc: Kyc
    account: AccountState
    rating: float
    rating_count: int
    online: bool


class TechnicianCard(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a profile that everybody may see."""

    id: TechnicianId
    name: str
    services: list[ServiceId]
    zone: Zone
    rating: float
    rating_count: int
    online: bool


class ProfilePatch(msgspec.Struct, frozen=True, kw_only=True):
    """The changes of a profile; a field that is UNSET does not change. Only managers may set ``zone`` and
    ``capacity``.
    """

    name: str | msgspec.UnsetType = msgspec.UNSET
    phone: str | msgspec.UnsetType | None = msgspec.UNSET
    services: list[ServiceId] | msgspec.UnsetType = msgspec.UNSET
    zone: Zone | msgspec.UnsetType = msgspec.UNSET
    capacity: int | msgspec.UnsetType = msgspec.UNSET


class TechnicianQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A filter for technicians. With ``lat`` and ``lon`` (and a ``service``), the result contains the technicians who
    are available now in the zone of this place, the nearest first, on one page.
    """

    service: ServiceId | None = None
    lat: float | None = None
    lon: float | None = None
    limit: int = 50
    cursor: str | None = None


async def read_technician(engine: Engine, caller: Principal, technician: TechnicianId) -> Technician | TechnicianCard:
    """Return a profile: all fields for the technician and for managers, a card for all others. Raises NotFound."""
    row = await sql.read_row(engine, technician)
    return (await profiles_for(engine, caller, [row]))[0]


async def find_technicians(
    engine: Engine, caller: Principal, query: TechnicianQuery
) -> Slice[Technician | TechnicianCard]:
    """List technicians. Callers who are no managers receive only technicians with an approved account. Raises
    Invalid.
    """
    limit = check_limit(query.limit)
    if query.lat is not None and query.lon is not None:
        return Slice(await profiles_for(engine, caller, await _find_nearby(engine, query, limit)))
    query_rows = sql.select_all_technicians().order_by(technicians.c.id).limit(limit + 1)
    if query.service is not None:
        offering = select(technician_services.c.technician).where(technician_services.c.service == query.service)
        query_rows = query_rows.where(technicians.c.id.in_(offering))
    if caller.role not in MANAGERS:
        query_rows = query_rows.where(technicians.c.account == "approved", users.c.active.is_(True))
    if query.cursor is not None:
        (last,) = decode_cursor(query.cursor, tuple[str])
        query_rows = query_rows.where(technicians.c.id > last)
    async with engine.archive.begin_read() as conn:
        rows = await sql.load_rows(conn, query_rows)
    page = make_slice(rows, limit, lambda row: (row.id,))
    return Slice(await profiles_for(engine, caller, page.items), page.next)


async def _find_nearby(engine: Engine, query: TechnicianQuery, limit: int) -> list[TechnicianRow]:
    if query.service is None:
        raise Invalid(errors=[FieldError("/service", "Required for a search near a position")])
    live.check_mappable(query.lat or 0.0, query.lon or 0.0)
    try:
        zone = zone_of_place(engine, query.lat or 0.0, query.lon or 0.0)
    except OutOfArea:
        return []
    reach = ("FROMLONLAT", query.lon or 0.0, query.lat or 0.0, "BYRADIUS", NEARBY_RADIUS_M, "m", "ASC")
    supply = keys.technician_supply(zone, query.service)
    near = [each.decode() for each in await engine.store.command("GEOSEARCH", supply, *reach, "COUNT", limit, "ANY")]
    async with engine.archive.begin_read() as conn:
        found = await sql.load_rows(conn, sql.select_all_technicians().where(technicians.c.id.in_(near)))
    rows = {row.id: row for row in found}
    return [rows[TechnicianId(member)] for member in near if member in rows]


async def profiles_for(
    engine: Engine, caller: Principal, rows: Sequence[TechnicianRow]
) -> list[Technician | TechnicianCard]:
    """Return the profiles of rows as the caller may see them."""
    states = await asyncio.gather(*(_load_and_online(engine, row) for row in rows))
    whole = caller.role in MANAGERS
    return [
        _technician_of_row(row, *state) if whole or caller.id == row.id else _card_of_row(row, *state)
        for row, state in zip(rows, states, strict=True)
    ]


async def _load_and_online(engine: Engine, row: TechnicianRow) -> tuple[int, bool]:
    load, online = await engine.store.command("HMGET", keys.technician(row.zone, row.id), "load", "online")
    return int(load or 0), online == b"1"


def _technician_of_row(row: TechnicianRow, load: int, online: bool) -> Technician:
    return Technician(
        id=row.id,
        name=row.name,
        phone=row.phone,
        services=row.services,
        zone=row.zone,
        capacity=row.capacity,
        load=load,
        kyc=row.kyc,
        account=sql.account_state(row),
        rating=row.rating,
        rating_count=row.rating_count,
        online=online,
    )


def _card_of_row(row: TechnicianRow, _load: int, online: bool) -> TechnicianCard:
    return TechnicianCard(
        id=row.id,
        name=row.name,
        services=row.services,
        zone=row.zone,
        rating=row.rating,
        rating_count=row.rating_count,
        online=online,
    )


# Commands


async def patch_technician(
    engine: Engine, caller: Principal, technician: TechnicianId, change: ProfilePatch, *, key: str | None = None
) -> Result[Technician | TechnicianCard]:
    """Change a profile. Raises Forbidden, NotFound, Invalid, and IllegalTransition for a change of zone while the
    technician is online or holds a job.
    """
    given = {f: v for f in change.__struct_fields__ if (v := getattr(change, f)) is not msgspec.UNSET}
    _check_may_patch(caller, technician, given)
    _check_values(engine, given)

    async def run_in_transaction(conn: AsyncConnection) -> TechnicianId:
        await _lock_technician(conn, technician)
        person = {name: given[name] for name in ("name", "phone") if name in given}
        if person:
            await conn.execute(update(users).where(users.c.id == technician).values(**person))
        if "services" in given:
            await _set_services(conn, technician, given["services"])
        stored = {name: given[name] for name in ("zone", "capacity") if name in given}
        await sql.update_technician(conn, technician, **stored)
        await outbox.add_row(conn, technician)
        await audit_events.add_profile_change(conn, caller, technician, given)
        return technician

    request = in_sql.new_request(caller.id, key, "patch_technician", technician, given)
    left = "zone" in given and await _leave_zone(engine, request, technician, given["zone"])
    try:
        result = await in_redis.run_once(engine, request, TechnicianId, run_in_transaction)
    except CalloutError:
        if left:
            await sql.try_publish_to_redis(engine, technician)
        raise
    with in_sql.unavailable_as_indeterminate():
        await outbox.apply_rows(engine, technician)
        return Result(await read_technician(engine, caller, technician), result.key, result.repeated)


async def review_technician(
    engine: Engine,
    caller: Principal,
    technician: TechnicianId,
    *,
    kyc: Kyc | None = None,
    account: Literal["approved", "suspended"] | None = None,
    reason: str | None = None,
    key: str | None = None,
) -> Result[Technician | TechnicianCard]:
    """Record a manager's review of a technician; an argument that is None changes nothing. The technician and the
    managers receive ``technician.reviewed``. A suspension is done also without Redis: the outbox completes it, and the
    caller receives Indeterminate. Raises Forbidden, NotFound, Invalid.
    """
    require_role(caller, REVIEWER_ROLES)
    if kyc is None and account is None:
        raise Invalid(errors=[FieldError("", "Give kyc or account")])

    async def run_in_transaction(conn: AsyncConnection) -> TechnicianId:
        await _lock_technician(conn, technician)
        decided = {name: value for name, value in (("kyc", kyc), ("account", account)) if value is not None}
        await sql.update_technician(conn, technician, reason=reason, **decided)
        review = await _review_event_data(conn, technician)
        await outbox.add_row(conn, technician, review=review, actor=f"{caller.role}:{caller.id}")
        return technician

    request = in_sql.new_request(caller.id, key, "review", technician, kyc, account, reason)
    waits = account != "suspended"
    result = await in_redis.run_once(engine, request, TechnicianId, run_in_transaction, needs_redis=waits)
    with in_sql.unavailable_as_indeterminate():
        await outbox.apply_rows(engine, technician)
        return Result(await read_technician(engine, caller, technician), result.key, result.repeated)


async def _leave_zone(engine: Engine, request: in_sql.KeyedRequest, technician: TechnicianId, zone: Zone) -> bool:
    """Remove the technician from their present zone, if ``zone`` is another zone and the command is new. Returns
    whether the technician was removed. Redis decides, since only Redis contains whether the technician is idle. If SQL
    fails afterwards, ``sql.repair_redis`` finds that the record is missing and writes the record again.
    """
    row = await sql.read_row(engine, technician)
    if row.zone == zone or row.zone not in engine.store.zones:
        return False
    if await in_sql.find_record(engine.archive, request.principal, request.key):
        return False
    await live.remove_from_zone(engine, row.zone, technician)
    return True


# Rules


def _check_may_patch(caller: Principal, technician: TechnicianId, changes: Mapping[str, Any]) -> None:
    if caller.role in MANAGERS:
        return
    if caller.id != technician or caller.role != "technician":
        raise Forbidden
    if {"zone", "capacity"} & set(changes):
        raise Forbidden("Zone and capacity are set by managers")


def _check_values(engine: Engine, changes: Mapping[str, Any]) -> None:
    errors = []
    if len(changes.get("services", ())) > MAX_SERVICES:
        errors.append(FieldError("/services", f"At most {MAX_SERVICES}"))
    if not 1 <= changes.get("capacity", 1) <= MAX_CAPACITY:
        errors.append(FieldError("/capacity", f"Expected 1 to {MAX_CAPACITY}"))
    if changes.get("zone", DEFAULT_ZONE) not in engine.store.zones:
        errors.append(FieldError("/zone", "Not a zone of this deployment"))
    if errors:
        raise Invalid(errors=errors)


async def _set_services(conn: AsyncConnection, technician: TechnicianId, service_ids: Sequence[ServiceId]) -> None:
    known = set((await conn.execute(select(services.c.id).where(services.c.id.in_(service_ids)))).scalars())
    errors = [
        FieldError(f"/services/{at}", "No such service") for at, each in enumerate(service_ids) if each not in known
    ]
    if errors:
        raise Invalid(errors=errors)
    mine = technician_services.c.technician == technician
    await conn.execute(delete(technician_services).where(mine))
    if known:
        rows = [{"service": each, "technician": technician} for each in known]
        await conn.execute(insert(technician_services), rows)


async def _review_event_data(conn: AsyncConnection, technician: TechnicianId) -> bytes:
    """Return the data of the ``technician.reviewed`` event, from the profile at the end of this transaction."""
    (row,) = await sql.load_rows(conn, sql.select_all_technicians().where(technicians.c.id == technician))
    data = {"technician": {"id": row.id}, "kyc": row.kyc, "account": sql.account_state(row), "reason": row.reason}
    return msgspec.json.encode(data)


async def _lock_technician(conn: AsyncConnection, technician: TechnicianId) -> None:
    """Lock the profile until the transaction ends. Raises NotFound.

    Only the account's row is locked: every command on an account takes this lock first, so that there is no deadlock.
    """
    query = select(technicians.c.id).join(users, users.c.id == technicians.c.id).where(technicians.c.id == technician)
    query = query.with_for_update(of=users, key_share=True)
    if (await conn.execute(query)).one_or_none() is None:
        raise NotFound
