"""The search of the staff. It finds people by name or e-mail address, and jobs by id, reference, address or
customer.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Literal

import msgspec
from sqlalchemy import Select, func, or_, select

from engine.errors import FieldError, Invalid
from engine.roles import ADMIN_ROLE, MANAGERS, OPS, require_role
from engine.rules.emails import comparison_form
from engine.sql.schema import jobs, users
from engine.types import Principal

if TYPE_CHECKING:
    from engine.runtime import Engine

MIN_QUERY_LENGTH = 2
MAX_FOUND = 10
"""The most people and the most jobs in an answer. There are no pages, because the caller can type a longer text."""
RECENT_JOBS = 5_000
"""The number of newest jobs whose text is searched. Older jobs are found only by their id or reference."""
MAX_READ = 200
"""The most rows of each kind that are read for one answer."""


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """A person or a job that was found. ``title`` is a name or an address, ``detail`` a role or a status."""

    kind: Literal["user", "technician", "job"]
    id: str
    title: str
    detail: str


class _Customer(msgspec.Struct):
    name: str = ""


class _SearchedJob(msgspec.Struct):
    """The members of a job's document that are searched."""

    id: str
    address: str = ""
    postal_code: str | None = None
    reference: str | None = None
    customer: _Customer | None = None

    def matches(self, text: str) -> bool:
        """Return whether a member contains ``text``, which is in lower case."""
        name = self.customer.name if self.customer else ""
        return any(
            text in (part or "").lower() for part in (self.id, self.address, self.postal_code, self.reference, name)
        )


_decoder = msgspec.json.Decoder(_SearchedJob)


async def search(engine: Engine, caller: Principal, text: str) -> list[Found]:
    """Return the people and jobs that match ``text``, at most ``MAX_FOUND`` of each. Onboarding managers find
    technicians alone, and only admins search by e-mail address. Jobs are those that SQL has, a moment behind Redis.

    Raises Forbidden, Invalid for a text with less than ``MIN_QUERY_LENGTH`` characters between its spaces, Unavailable.
    """
    require_role(caller, MANAGERS)
    text = text.strip()
    if len(text) < MIN_QUERY_LENGTH:
        raise Invalid(errors=[FieldError("/q", f"Expected at least {MIN_QUERY_LENGTH} characters that are no spaces")])
    reads = [_find(engine, _people_query(caller, text)), *([_find(engine, _jobs_query(text))] if caller.is_ops else [])]
    people, *listed = await asyncio.gather(*reads)
    matching = [job for rows in listed for row in rows if (job := _job_of_row(row, text.lower()))]
    return [*map(_found_person, people[:MAX_FOUND]), *matching[:MAX_FOUND]]


async def _find(engine: Engine, query: Select[Any]) -> list[Any]:
    async with engine.archive.begin_read() as conn:
        return list((await conn.execute(query.limit(MAX_READ))).mappings())


def _people_query(caller: Principal, text: str) -> Select[Any]:
    columns = users.c
    matches = [func.lower(columns.name).contains(text.lower(), autoescape=True), columns.id == text]
    if caller.role in ADMIN_ROLE:
        matches.append(columns.email.contains(comparison_form(text), autoescape=True))
    query = select(columns.id, columns.name, columns.role).where(or_(*matches))
    if caller.role not in OPS:
        query = query.where(columns.role == "technician")
    return query.order_by(columns.created_at.desc(), columns.id.desc())


def _jobs_query(text: str) -> Select[Any]:
    columns = jobs.c
    recent = select(columns.id).order_by(columns.created_at.desc(), columns.id.desc()).limit(RECENT_JOBS)
    in_text = columns.id.in_(recent) & func.lower(columns.doc).contains(text.lower(), autoescape=True)
    exact = or_(columns.id == text, columns.reference == text)
    query = select(columns.status, columns.doc).where(or_(exact, in_text))
    return query.order_by(columns.created_at.desc(), columns.id.desc())


def _found_person(row: Any) -> Found:
    kind: Literal["user", "technician"] = "technician" if row["role"] == "technician" else "user"
    return Found(kind=kind, id=row["id"], title=row["name"], detail=row["role"])


def _job_of_row(row: Any, text: str) -> Found | None:
    job = _decoder.decode(row["doc"])
    if not job.matches(text):
        return None
    return Found(kind="job", id=job.id, title=job.address or job.id, detail=row["status"])
