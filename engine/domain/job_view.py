"""A job in a reply: its JSON with what stands there for this caller alone, and in no event.

``actions`` is what the caller may do now; ``codes`` are shown to its customer while somebody has it, ``proposal`` to
its two sides while the price that one of them proposed waits for the other's answer, and each side sees the other's
phone (engine/domain/contacts.py). What they depend on is not in the job's JSON. It is read from its record, all of it
at once, and only where the job's blueprint and state and the caller let there be any."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec
import structlog

from engine.archive import reader
from engine.blueprint.schema import Blueprint
from engine.domain import codes, contacts
from engine.domain.contacts import Side
from engine.errors import CalloutError
from engine.rules import job_document
from engine.rules.job_document import JobView
from engine.store import keys
from engine.types import Principal

if TYPE_CHECKING:
    from engine.runtime import Engine

log = structlog.get_logger(__name__)

CODED = ("assigned", "active")
"""Phases in which the customer is shown the codes."""


class _Record(NamedTuple):
    """The same job as it is now: it may have moved on since its JSON was told."""

    bp: str
    status: str
    phase: str
    holder: str
    issue: str
    reissued: str
    price_locked: str
    proposal: str
    unaccepted: str
    """1 while its holder is merely asked."""
    contact: str
    """The customer's phone, as JSON."""
    unserved: str
    """The holder who was assigned the job for a service that they have no longer."""
    tries: str

    def lacks_service(self, caller: Principal) -> bool:
        """Whether the caller may only say no to the job (lua/job_step.lua)."""
        return self.unaccepted == "1" and caller.id == self.holder == self.unserved

    @property
    def tried(self) -> int:
        """How many wrong codes the caller has given under the present issue (lua/lib/codes.lua)."""
        issue, _, used = self.tries.partition(" ")
        return int(used) if issue == (self.issue or "1") else 0


def with_actions(job: bytes, actions: list[str], **more: Any) -> bytes:
    """A job's JSON with what the caller may do now, and ``more`` members."""
    return job[:-1] + b"," + msgspec.json.encode({"actions": actions, **more})[1:]


async def one(
    engine: Engine,
    caller: Principal,
    blueprint: Blueprint | None,
    job: bytes,
    actions: list[str],
    *,
    contact: str | None = None,
) -> bytes:
    """A job with everything, as the caller of a command or a read is answered. Where its ``blueprint`` is not known
    here, that is the job alone: nobody can say what may be done with it, or read beside it.

    Of ``actions``, what its state allows the caller, those are left out that its record forbids now. ``contact`` is the
    customer's phone (JSON) where the caller became the holder by this very step: no code was tried by them and no price
    proposed to them yet, so that nothing has to be read.
    """
    if blueprint is None:
        return with_actions(job, [])
    if contact is not None:
        job = await _phone_added(engine, job_document.view(job), "customer", job, contact)
        return with_actions(job, blueprint.unlocked(actions, tried=0, reissued=0))
    shown = _of_interest(caller, [blueprint], job, actions)
    record = await _record(engine, caller, shown) if shown else None
    if shown is None or record is None:
        return with_actions(job, blueprint.unlocked(actions, tried=0, reissued=0))
    possible = blueprint.unlocked(actions, tried=record.tried, reissued=int(record.reissued or 0))
    if record.lacks_service(caller):
        possible = [name for name in possible if blueprint.commands[name].does == "release"]
    more = _beside(engine, caller, shown, record)
    job = await _with_phone(engine, caller, shown, record, job)
    return with_actions(job, possible, **more)


async def archived(engine: Engine, caller: Principal, job: bytes) -> bytes:
    """A job that SQL alone has, as its last event told it: nothing can be done with it."""
    shown = _of_interest(caller, list(engine.blueprints.by_key.values()), job, [])
    return with_actions(await _phoned(engine, caller, shown, job) if shown else job, [])


async def many(engine: Engine, caller: Principal, jobs: Iterable[bytes]) -> list[bytes]:
    """The jobs of a list, each as it is now, with its codes, proposal and phone; ``actions`` stand with single ones."""
    return list(await asyncio.gather(*(_listed(engine, caller, job) for job in jobs)))


async def _listed(engine: Engine, caller: Principal, job: bytes) -> bytes:
    shown = _of_interest(caller, list(engine.blueprints.by_key.values()), job, [])
    if shown is None:
        return job
    record = await _record(engine, caller, shown)
    if record is None:
        return await _phoned(engine, caller, shown, job)
    job = await _with_phone(engine, caller, shown, record, job)
    more = _beside(engine, caller, shown, record)
    return job[:-1] + b"," + msgspec.json.encode(more)[1:] if more else job


async def _with_phone(engine: Engine, caller: Principal, shown: JobView, record: _Record, job: bytes) -> bytes:
    """The job with the other side's phone, where ``job`` still tells truly who has it: it may be the answer to a step
    that is repeated after its giver has left.
    """
    if shown.holder_id != record.holder or record.unaccepted == "1":
        return job
    blueprint = engine.blueprints.exactly(record.bp)
    side = contacts.side_wanted(caller, shown, blueprint) if blueprint else None
    return await _phone_added(engine, shown, side, job, record.contact)


async def _phoned(engine: Engine, caller: Principal, shown: JobView, job: bytes) -> bytes:
    """The same of a job that Redis has forgotten: its events say which version of its blueprint it had."""
    try:
        key = await reader.blueprint_of(engine.archive, shown.id)
    except CalloutError as error:  # as in contacts.phone_of: a job is not refused for want of a phone
        log.warning("phone_not_read", job=shown.id, error=str(error))
        return job
    blueprint = engine.blueprints.exactly(key) if key else None
    side = contacts.side_wanted(caller, shown, blueprint) if blueprint else None
    return await _phone_added(engine, shown, side, job)


async def _phone_added(engine: Engine, shown: JobView, side: Side | None, job: bytes, contact: str = "") -> bytes:
    if side is None:
        return job
    phone = await contacts.phone_of(engine, shown, side, contact if side == "customer" else "")
    return contacts.with_phone(job, side, phone)


def _of_interest(
    caller: Principal, blueprints: Sequence[Blueprint], job: bytes, actions: Sequence[str]
) -> JobView | None:
    """The job's shown where its record may have something for the caller, by any version of its blueprint."""
    if caller.role not in ("customer", "technician") and not actions:
        return None
    shown = job_document.view(job)
    versions = [b for b in blueprints if b.name == shown.blueprint]
    return shown if any(_may_hold(caller, b, shown, actions) for b in versions) else None


def _may_hold(caller: Principal, blueprint: Blueprint, shown: JobView, actions: Sequence[str]) -> bool:
    if blueprint.asks_codes(actions) or contacts.side_wanted(caller, shown, blueprint):
        return True
    if _is_customer(caller, shown) and blueprint.codes.purposes and shown.phase in CODED:
        return True
    if _is_holder(caller, shown) and shown.status in blueprint.states and blueprint.states[shown.status].asked:
        return True
    return (_is_customer(caller, shown) or _is_holder(caller, shown)) and shown.status in blueprint.price.propose


def _is_customer(caller: Principal, shown: JobView) -> bool:
    return caller.role == "customer" and shown.customer_id == caller.id


def _is_holder(caller: Principal, shown: JobView) -> bool:
    return caller.role == "technician" and shown.holder_id == caller.id


async def _record(engine: Engine, caller: Principal, shown: JobView) -> _Record | None:
    """What the job's record holds now; None where it is gone."""
    names = [*_Record._fields[:-1], f"tries:{caller.id}"]
    found = await engine.store.command("HMGET", keys.job(shown.zone, shown.id), *names)
    record = _Record(*((part or b"").decode() for part in found))
    return record if record.bp else None


def _beside(engine: Engine, caller: Principal, shown: JobView, record: _Record) -> dict[str, Any]:
    """The codes, and the proposal that is open, as far as they are the caller's to see."""
    blueprint, more = engine.blueprints.exactly(record.bp), dict[str, Any]()
    if blueprint is None:
        return more
    mine = _is_customer(caller, shown)
    # Told as it was, it may be over since, or another's.
    if mine and blueprint.codes.purposes and shown.phase in CODED and record.phase in CODED:
        more["codes"] = codes.all_of(engine, blueprint, shown.id, record.issue or "1")
    talking = record.status in blueprint.price.propose and record.price_locked != "1"
    if talking and (mine or (_is_holder(caller, shown) and record.holder == caller.id)):
        proposal = _open_proposal(record)
        more |= {"proposal": proposal} if proposal else {}
    return more


def _open_proposal(record: _Record) -> msgspec.Raw | None:
    """The last proposal as its event told it, where it is open: a record of lua/lib/proposal.lua, which has JSON for
    the time and the reason.
    """
    if not record.proposal.startswith("open "):
        return None
    status, name, amount, by, holder, created, reason = record.proposal.split(" ", 6)
    if holder != record.holder:
        return None
    role, _, user = by.partition(":")
    why = f',"reason":{reason}' if reason else ""
    told = f'{{"id":"{name}","amount":{amount},"by":{{"id":"{user}","role":"{role}"}}{why}'
    return msgspec.Raw(f'{told},"status":"{status}","created_at":{created}}}'.encode())
