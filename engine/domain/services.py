"""The services that customers book and technicians provide. They are stored only in SQL."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import FieldError, Invalid, NotFound, ServiceInactive
from engine.idempotency import in_redis, in_sql
from engine.idempotency.in_sql import Result
from engine.identity import audit_events
from engine.roles import OPS, require_role
from engine.sql.paging import Slice, check_limit, decode_cursor, make_slice
from engine.sql.schema import services
from engine.types import Principal, ServiceId, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

Pricing = Literal["flat", "hourly"]


class Service(msgspec.Struct, frozen=True, kw_only=True):
    """A service; ``base_amount`` is in minor units of ``currency``: the price, or the rate per hour if ``pricing`` is
    ``hourly``.
    """

    id: ServiceId
    name: str
    category: str
    base_amount: int
    currency: str
    pricing: Pricing
    duration_min: int
    active: bool


class NewService(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    category: str
    base_amount: int
    currency: str
    pricing: Pricing = "flat"
    duration_min: int = 60
    active: bool = True


class ServiceQuery(msgspec.Struct, frozen=True, kw_only=True):
    """A filter for services. ``q`` is searched in name and category, without case."""

    q: str | None = None
    category: str | None = None
    limit: int = 50
    cursor: str | None = None


async def find_services(engine: Engine, caller: Principal, query: ServiceQuery) -> Slice[Service]:
    """List services by name. Only ops see inactive services. Raises Invalid (limit, cursor)."""
    limit = check_limit(query.limit)
    columns = services.c
    rows = select(services).order_by(columns.name, columns.id).limit(limit + 1)
    if not caller.is_ops:
        rows = rows.where(columns.active.is_(True))
    if query.category is not None:
        rows = rows.where(columns.category == query.category)
    if query.q:
        rows = rows.where(
            columns.name.icontains(query.q, autoescape=True) | columns.category.icontains(query.q, autoescape=True)
        )
    if query.cursor is not None:
        name, last = decode_cursor(query.cursor, tuple[str, str])
        rows = rows.where((columns.name > name) | ((columns.name == name) & (columns.id > last)))
    async with engine.archive.begin_read() as conn:
        loaded = list((await conn.execute(rows)).mappings().all())
    page = make_slice(loaded, limit, lambda row: (row["name"], row["id"]))
    return Slice([_service_of_row(row) for row in page.items], page.next)


async def read_service(engine: Engine, service: ServiceId) -> Service:
    """Return one service, also an inactive one, because old jobs may have that service. Raises NotFound."""
    async with engine.archive.begin_read() as conn:
        return _service_of_row(await _select_row(conn, service))


async def active_service(engine: Engine, service: ServiceId) -> Service:
    """Return the service that a booking names. Raises Invalid if there is no such service, ServiceInactive if the
    service is inactive.
    """
    async with engine.archive.begin_read() as conn:
        row = (await conn.execute(select(services).where(services.c.id == service))).mappings().one_or_none()
    return check_active(row)


def check_active(row: Mapping[Any, Any] | None) -> Service:
    """Return the service of a row that a booking names. Raises Invalid if there is no row, ServiceInactive."""
    if row is None:
        raise Invalid(errors=[FieldError("/service", "No such service")])
    loaded = _service_of_row(row)
    if not loaded.active:
        raise ServiceInactive
    return loaded


async def create_service(
    engine: Engine, caller: Principal, new_service: NewService, *, key: str | None = None
) -> Result[Service]:
    """Add a service to the catalogue. Raises Forbidden, Invalid."""
    require_role(caller, OPS)
    service = Service(id=ServiceId(new_id("srv")), **msgspec.structs.asdict(new_service))

    async def run_in_transaction(conn: AsyncConnection) -> Service:
        members = msgspec.structs.asdict(service)
        await conn.execute(insert(services).values(**members))
        await audit_events.add_row(
            conn, audit_events.actor_of(caller), "service_created", "service", service.id, changed=members
        )
        return service

    request = in_sql.new_request(caller.id, key, "create_service", new_service, ttl_s=in_sql.CREATION_TTL_S)
    return await in_redis.run_once(engine, request, Service, run_in_transaction)


async def patch_service(
    engine: Engine, caller: Principal, service: ServiceId, change: Mapping[str, Any], *, key: str | None = None
) -> Result[Service]:
    """Change the fields in ``change`` (fields of ``NewService``). Jobs that are already booked do not change. Raises
    Forbidden, NotFound, Invalid.
    """
    require_role(caller, OPS)

    async def run_in_transaction(conn: AsyncConnection) -> Service:
        row = await _select_row(conn, service, lock=True)
        if change:
            await conn.execute(update(services).where(services.c.id == service).values(**change))
            actor = audit_events.actor_of(caller)
            await audit_events.add_row(conn, actor, "service_changed", "service", service, changed=dict(change))
        return _service_of_row({**row, **change})

    request = in_sql.new_request(caller.id, key, "patch_service", service, change)
    return await in_redis.run_once(engine, request, Service, run_in_transaction)


async def _select_row(conn: AsyncConnection, service: ServiceId, *, lock: bool = False) -> Mapping[Any, Any]:
    query = select(services).where(services.c.id == service)
    row = (await conn.execute(query.with_for_update() if lock else query)).mappings().one_or_none()
    if row is None:
        raise NotFound
    return row


def _service_of_row(row: Mapping[Any, Any]) -> Service:
    return Service(**row)
