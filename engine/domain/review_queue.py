"""Read the queue of technicians who wait for a review, with their documents."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import and_, exists, or_, select, tuple_

from engine.domain import profile
from engine.domain.profile import Technician
from engine.errors import Forbidden
from engine.files import file_rows
from engine.files.file_object import FileObject, file_object
from engine.roles import REVIEWER_ROLES
from engine.sql.file_tables import files
from engine.sql.paging import Slice, check_limit, decode_cursor, make_slice
from engine.sql.schema import technician_services, technicians, users
from engine.technicians import sql
from engine.types import Principal, TechnicianId, UserId

if TYPE_CHECKING:
    from engine.runtime import Engine


class PendingTechnician(Technician, frozen=True, kw_only=True):
    """A technician who waits for a review, with the documents that they uploaded."""

    documents: list[FileObject]


async def find_pending(
    engine: Engine, caller: Principal, *, limit: int, cursor: str | None, service: str | None = None
) -> Slice[PendingTechnician]:
    """Return the technicians who wait for a review, the oldest account first; with ``service``, those who provide it.
    A technician waits while their KYC is not
    decided, or while their account is not decided and their KYC is not rejected. Raises Forbidden, Invalid,
    Unavailable.
    """
    if caller.role not in REVIEWER_ROLES:
        raise Forbidden("Technicians are reviewed by onboarding managers and admins")
    waits = or_(
        technicians.c.kyc == "pending", and_(technicians.c.account == "pending", technicians.c.kyc != "rejected")
    )
    order = (users.c.created_at, users.c.id)
    query = select(users.c.created_at, users.c.id).join(technicians, technicians.c.id == users.c.id)
    query = query.where(waits, users.c.active.is_(True), users.c.role == "technician")
    if service is not None:
        provided = technician_services.c.technician == users.c.id, technician_services.c.service == service
        query = query.where(exists().where(*provided))
    if cursor is not None:
        query = query.where(tuple_(*order) > decode_cursor(cursor, tuple[int, str]))
    async with engine.archive.begin_read() as conn:
        found = await conn.execute(query.order_by(*order).limit(check_limit(limit) + 1))
        page = make_slice([(int(row.created_at), str(row.id)) for row in found], limit, lambda place: place)
        ids = [TechnicianId(UserId(name)) for _, name in page.items]
        rows = await sql.load_rows(conn, sql.select_all_technicians().where(technicians.c.id.in_(ids)))
    documents = await _documents_of(engine, ids)
    profiles = {each.id: each for each in await profile.profiles_for(engine, caller, rows)}
    whole = [msgspec.structs.asdict(profiles[each]) for each in ids if each in profiles]
    return Slice([PendingTechnician(**each, documents=documents[each["id"]]) for each in whole], page.next)


async def _documents_of(engine: Engine, ids: list[TechnicianId]) -> dict[str, list[FileObject]]:
    documents: defaultdict[str, list[FileObject]] = defaultdict(list)
    targets = files.c.target.in_([f"technician:{each}" for each in ids])
    for row in await file_rows.find_rows(engine.archive, targets, files.c.attached_at.is_not(None)):
        documents[row.target_id].append(file_object(row))
    return documents
