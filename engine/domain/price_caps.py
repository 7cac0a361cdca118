"""The caps of zones. A cap is the largest multiplier that a quoted price may have, even if its blueprint allows more.

Ops set a cap when a law or an emergency demands it. SQL stores the cap, with an entry of the audit trail in the same
transaction. A cap applies to quotes that are created from then on; a price that was promised before does not change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.domain import services
from engine.domain.services import Service
from engine.errors import NotFound
from engine.idempotency import in_redis, in_sql
from engine.idempotency.in_sql import Result
from engine.identity import audit_events
from engine.roles import OPS, require_role
from engine.sql.insert import insert_into
from engine.sql.quote_tables import price_caps
from engine.sql.schema import services as services_table
from engine.types import Principal, ServiceId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine


class ZonePricing(msgspec.Struct, frozen=True):
    """The cap of a zone in per mille; None if it has none."""

    zone: Zone
    max: int | None


async def read_cap(engine: Engine, zone: Zone) -> int | None:
    """Return the cap of a zone; None if it has none. Raises Unavailable."""
    query = select(price_caps.c.max).where(price_caps.c.zone == zone)
    async with engine.archive.begin_read() as conn:
        return (await conn.execute(query)).scalar_one_or_none()


async def read_service_and_cap(engine: Engine, service: ServiceId, zone: Zone) -> tuple[Service, int | None]:
    """Return the service that a quote names, and the cap of the zone, by one query. Raises Invalid if there is no such
    service, ServiceInactive, Unavailable.
    """
    joined = services_table.outerjoin(price_caps, price_caps.c.zone == zone)
    query = select(services_table, price_caps.c.max.label("cap")).select_from(joined)
    async with engine.archive.begin_read() as conn:
        row = (await conn.execute(query.where(services_table.c.id == service))).mappings().one_or_none()
    members = dict(row) if row else None
    cap = members.pop("cap") if members else None
    return services.check_active(members), cap


async def put_cap(
    engine: Engine, caller: Principal, zone: Zone, cap: int | None, *, key: str | None = None
) -> Result[ZonePricing]:
    """Set the cap of a zone; None removes it. Raises Forbidden, NotFound for a zone that does not exist, ReusedKey."""
    require_role(caller, OPS)
    if zone not in engine.settings.all_zones:
        raise NotFound("No such zone")

    async def run_in_transaction(conn: AsyncConnection) -> ZonePricing:
        if cap is None:
            await conn.execute(delete(price_caps).where(price_caps.c.zone == zone))
        else:
            new = insert_into(engine.archive, price_caps).values(zone=zone, max=cap)
            await conn.execute(new.on_conflict_do_update(index_elements=["zone"], set_={"max": cap}))
        await audit_events.add_row(conn, audit_events.actor_of(caller), "pricing_changed", "zone", zone, max=cap)
        return ZonePricing(zone, cap)

    request = in_sql.new_request(caller.id, key, "put_cap", zone, cap)
    return await in_redis.run_once(engine, request, ZonePricing, run_in_transaction)
