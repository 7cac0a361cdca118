"""Erasures of persons: who may request one, what prevents it, and its progress.

The account is closed first, so that no new job begins. A *blocker* prevents an erasure: a live job or an open dispute,
because the other party needs the person; a balance that is not 0, or a payout that is not finished, because the money
has no other owner; events in a zone that is no longer declared, because no process can write the record of the erasure
to its log. If there is a blocker, the account is opened again. engine/workers/eraser.py carries out the erasure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import msgspec
from sqlalchemy import delete, insert, or_, select

from engine.archive import ledger_reader, person_reader
from engine.archive.projection import FINISHED_PHASES
from engine.clock import now_ms
from engine.domain import ledger_position
from engine.errors import Forbidden, NotErasable, NotFound
from engine.idempotency import in_redis, in_sql
from engine.idempotency.in_sql import Result
from engine.identity import account_closing, audit_events, outbox, passwords
from engine.roles import ADMIN_ROLE
from engine.sql.erasure_tables import erasures
from engine.sql.schema import jobs, users
from engine.store import keys
from engine.types import JobId, Principal, UserId, Zone, new_id, zone_of

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncConnection

    from engine.runtime import Engine

Blocker = Literal["job", "dispute", "balance", "payout", "zone"]
ErasureState = Literal["waiting", "running", "done"]


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """The erasure of a person. ``blockers`` are what prevents it at present; ``zones`` are those whose events are
    erased.
    """

    id: str
    state: ErasureState
    blockers: list[Blocker]
    zones: list[Zone]


async def request_erasure(
    engine: Engine, caller: Principal, user: UserId, *, reason: str, password: str | None, key: str | None = None
) -> Result[Erasure]:
    """Close the account of ``user`` and request the erasure of everything about them. If an erasure exists already, it
    is returned.

    Raises Forbidden (neither the user nor an admin, or a wrong password), NotFound, NotErasable, ReusedKey.
    """
    await check_may_manage(engine, caller, user, password)
    if existing := await _find_erasure(engine, user):
        return Result(existing, in_redis.validate_key(key), True)
    if blockers := await read_blockers(engine, user):
        raise not_erasable(blockers)
    actor, name = audit_events.actor_of(caller), new_id("era")

    async def run_in_transaction(conn: AsyncConnection) -> str:
        await account_closing.close_account(conn, user, actor)
        row = {"id": name, "user": user, "actor": actor, "reason": reason, "requested_at": now_ms()}
        await conn.execute(insert(erasures).values(state="waiting", restored=False, **row))
        await audit_events.add_row(conn, actor, "erasure_requested", "user", user)
        return name

    request = in_sql.new_request(caller.id, key, "erase", user, reason)
    done = await in_redis.run_once(engine, request, str, run_in_transaction)
    with in_sql.unavailable_as_indeterminate():
        await outbox.apply_rows(engine, user)
        blockers = await read_blockers(engine, user)
    if blockers:  # such as a job of a step that began before the account was closed
        await _withdraw_erasure(engine, user, actor)
        raise not_erasable(blockers)
    found = await _find_erasure(engine, user)
    if found is None:  # this repeats a request that was withdrawn meanwhile
        raise not_erasable([])
    return Result(found, done.key, done.repeated)


async def read_erasure(engine: Engine, caller: Principal, user: UserId) -> Erasure:
    """Return the erasure of ``user``. Raises Forbidden, NotFound if nobody asked for one."""
    if caller.id != user and caller.role not in ADMIN_ROLE:
        raise Forbidden
    found = await _find_erasure(engine, user)
    if found is None:
        raise NotFound
    return found


async def check_may_manage(engine: Engine, caller: Principal, user: UserId, password: str | None) -> None:
    """Check that ``caller`` is the user, with their password, or an admin. Raises Forbidden, NotFound."""
    if caller.id != user and caller.role not in ADMIN_ROLE:
        raise Forbidden
    async with engine.archive.begin_read() as conn:
        stored = (await conn.execute(select(users.c.password_hash).where(users.c.id == user))).scalar_one_or_none()
    if stored is None:
        raise NotFound
    if caller.id == user and not await passwords.is_correct_password(stored, password or ""):
        raise Forbidden("Wrong password")


async def begin_export(engine: Engine, caller: Principal, user: UserId, password: str | None) -> None:
    """Check that ``caller`` may export the data of ``user``, and record the export in the audit trail. Raises
    Forbidden, NotFound.
    """
    await check_may_manage(engine, caller, user, password)
    async with engine.archive.begin_write() as conn:
        await audit_events.add_row(conn, audit_events.actor_of(caller), "person_exported", "user", user)


def not_erasable(blockers: list[Blocker]) -> NotErasable:
    """Return the error for an erasure that these blockers prevent."""
    error = NotErasable()
    error.extra["blockers"] = blockers
    return error


async def read_blockers(engine: Engine, user: UserId) -> list[Blocker]:
    """Return what prevents the erasure of a user now. Raises Unavailable."""
    found: set[Blocker] = set()
    own = or_(jobs.c.customer == user, jobs.c.technician == user)
    async with engine.archive.begin_read() as conn:
        rows = (await conn.execute(select(jobs.c.id, jobs.c.phase).where(own))).all()
    archived: dict[str, str] = {row.id: row.phase for row in rows}
    for zone in engine.store.zones:
        live = await engine.store.command("ZRANGE", keys.user_jobs(zone, user), "0", "-1")
        for name in {*(each.decode() for each in live), *_jobs_of_zone(archived, zone)}:
            record = await engine.store.command("HMGET", keys.job(zone, JobId(name)), "phase", "frozen")
            phase = (record[0] or b"").decode() or archived.get(name, "")
            if phase and phase not in FINISHED_PHASES:
                found.add("job")
            if record[1]:
                found.add("dispute")
    # The log is read before the ledger: an event that is archived between the two reads is then in the ledger.
    is_unbooked = await ledger_position.has_unbooked_earnings(engine, user)
    if is_unbooked or await ledger_reader.has_balance(engine.archive, user):
        found.add("balance")
    if await ledger_reader.has_open_payout(engine.archive, user):
        found.add("payout")
    if await read_undeclared_zones(engine, user):
        found.add("zone")
    return sorted(found)


async def read_undeclared_zones(engine: Engine, user: UserId) -> list[Zone]:
    """Return the zones that have events of the person and are not declared. Raises Unavailable."""
    undeclared = sorted(set(await person_reader.read_zones(engine.archive)) - set(engine.store.zones))
    if not undeclared:
        return []
    person = await person_reader.read_person(engine.archive, user, [])
    return [zone for zone in undeclared if await person_reader.find_seqs(engine.archive, zone, person)]


def _jobs_of_zone(archived: dict[str, str], zone: Zone) -> list[str]:
    return [name for name in archived if zone_of(name) == zone]


async def _find_erasure(engine: Engine, user: UserId) -> Erasure | None:
    async with engine.archive.begin_read() as conn:
        row: Any = (await conn.execute(select(erasures).where(erasures.c.user == user))).one_or_none()
    if row is None:
        return None
    blockers = await read_blockers(engine, user) if row.state != "done" else []
    zones = sorted(await person_reader.read_zones(engine.archive))
    return Erasure(id=row.id, state=row.state, blockers=blockers, zones=zones)


async def _withdraw_erasure(engine: Engine, user: UserId, actor: str) -> None:
    async with engine.archive.begin_write() as conn:
        await conn.execute(delete(erasures).where(erasures.c.user == user, erasures.c.state == "waiting"))
        await account_closing.reopen_account(conn, user, actor)
        await audit_events.add_row(conn, actor, "erasure_withdrawn", "user", user)
    await outbox.apply_rows(engine, user)
