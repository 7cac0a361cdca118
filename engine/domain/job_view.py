"""A job in a reply: the job's JSON, and members that are only for this caller and that no event contains.

``actions`` lists the commands that the caller may give now. The customer receives ``codes`` while the job has a holder.
The customer and the holder receive ``proposal`` while a proposed price waits for an answer, and each receives the
other's phone (engine/domain/contacts.py). These members depend on the job's record, not on its JSON. The record is read
with one command, and only if the job's blueprint, its state and the caller allow at least one of the members.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from engine.blueprint.schema import Blueprint
from engine.domain import codes, contacts
from engine.rules import job_document
from engine.rules.job_document import JobView
from engine.store import keys
from engine.types import Principal

if TYPE_CHECKING:
    from engine.runtime import Engine

PHASES_WITH_CODES = ("assigned", "active")
"""The phases in which the customer receives the codes."""


RECORD_FIELDS = (
    *("bp", "status", "phase", "holder", "issue", "reissued"),
    *("price_locked", "proposal", "unaccepted", "contact", "unserved"),
)
"""The fields of a job's record in Redis that ``_JobRecord`` contains, in its order."""


class _JobRecord(NamedTuple):
    """The job's record in Redis as it is now. It may be newer than the job's JSON."""

    blueprint_key: str
    status: str
    phase: str
    holder: str
    code_issue: str
    """The number of the present issue of the job's codes; "" before the second issue."""
    code_reissues: str
    price_locked: str
    proposal: str
    unaccepted: str
    """1 while the holder is asked and has not accepted yet."""
    customer_phone: str
    """The customer's phone, as JSON."""
    unserved_holder: str
    """The id of the holder if they were assigned the job and do not provide its service any more; "" otherwise."""
    wrong_codes: str
    """The caller's wrong codes: the issue of the codes and their number."""

    def lacks_service(self, caller: Principal) -> bool:
        """Return whether the caller was asked to do the job but does not provide its service any more. They may then
        only refuse the job.
        """
        return self.unaccepted == "1" and caller.id == self.holder == self.unserved_holder

    @property
    def wrong_code_count(self) -> int:
        """Return the number of wrong codes that the caller gave since the codes were last issued
        (lua/lib/codes.lua).
        """
        issue, _, used = self.wrong_codes.partition(" ")
        return int(used) if issue == (self.code_issue or "1") else 0


def add_actions(job: bytes, actions: list[str], **further_members: Any) -> bytes:
    """Return a job's JSON with the member ``actions`` and the members of ``further_members`` added."""
    return job[:-1] + b"," + msgspec.json.encode({"actions": actions, **further_members})[1:]


async def view_job(
    engine: Engine,
    caller: Principal,
    blueprint: Blueprint | None,
    job: bytes,
    actions: list[str],
    *,
    contact: str | None = None,
) -> bytes:
    """Return the job view for the caller of a command or a read. If this process does not know the job's ``blueprint``,
    the view has no actions and no other added members, because they depend on the blueprint.

    ``actions`` are the commands that the job's state allows the caller, without the commands that the job's record
    forbids now. ``contact`` is the customer's phone (JSON) if the caller became the holder by this command. Such a
    caller has tried no code and received no proposal yet, so that this function does not read the record.
    """
    if blueprint is None:
        return add_actions(job, [])
    if contact is not None:
        job = await contacts.read_and_add_phone(engine, job_document.decode_job(job), "customer", job, contact)
        return add_actions(job, blueprint.unlocked_actions(actions, tried=0, reissued=0))
    view = _decode_if_record_needed(caller, [blueprint], job, actions)
    record = await _read_record(engine, caller, view) if view else None
    if view is None or record is None:
        job = await contacts.add_phone_to_repeat(engine, caller, blueprint, view, job) if view else job
        return add_actions(job, blueprint.unlocked_actions(actions, tried=0, reissued=0))
    possible = blueprint.unlocked_actions(
        actions, tried=record.wrong_code_count, reissued=int(record.code_reissues or 0)
    )
    if record.lacks_service(caller):
        possible = [name for name in possible if blueprint.commands[name].effect == "release"]
    more = _members_for_caller(engine, caller, view, record)
    job = await _add_phone_of_live_job(engine, caller, view, record, job)
    return add_actions(job, possible, **more)


async def view_archived_job(engine: Engine, caller: Principal, job: bytes) -> bytes:
    """Return the view of a job that is only in SQL, as of its last event. The view has no actions."""
    view = _decode_if_record_needed(caller, list(engine.blueprints.by_key.values()), job, [])
    return add_actions(await contacts.add_phone_of_archived_job(engine, caller, view, job) if view else job, [])


async def view_jobs(engine: Engine, caller: Principal, jobs: Iterable[bytes]) -> list[bytes]:
    """Return the views of the jobs of a list, with codes, proposal and phone. Only views of single jobs have
    ``actions``.
    """
    return list(await asyncio.gather(*(_view_list_item(engine, caller, job) for job in jobs)))


async def _view_list_item(engine: Engine, caller: Principal, job: bytes) -> bytes:
    view = _decode_if_record_needed(caller, list(engine.blueprints.by_key.values()), job, [])
    if view is None:
        return job
    record = await _read_record(engine, caller, view)
    if record is None:
        return await contacts.add_phone_of_archived_job(engine, caller, view, job)
    job = await _add_phone_of_live_job(engine, caller, view, record, job)
    more = _members_for_caller(engine, caller, view, record)
    return job[:-1] + b"," + msgspec.json.encode(more)[1:] if more else job


async def _add_phone_of_live_job(
    engine: Engine, caller: Principal, view: JobView, record: _JobRecord, job: bytes
) -> bytes:
    """Return the job with the other side's phone, unless the job has another holder by now: ``job`` may be the repeated
    answer to a command whose caller has left the job since.
    """
    if view.holder_id != record.holder or record.unaccepted == "1":
        return job
    blueprint = engine.blueprints.find_exact(record.blueprint_key)
    side = contacts.phone_owner(caller, view, blueprint) if blueprint else None
    return await contacts.read_and_add_phone(engine, view, side, job, record.customer_phone)


def _decode_if_record_needed(
    caller: Principal, blueprints: Sequence[Blueprint], job: bytes, actions: Sequence[str]
) -> JobView | None:
    """Return the decoded job if the job's record may be needed for what the caller sees (codes, a proposal, a phone,
    actions), by any version of its blueprint in ``blueprints``. Otherwise return None.
    """
    if caller.role not in ("customer", "technician") and not actions:
        return None
    view = job_document.decode_job(job)
    versions = [b for b in blueprints if b.name == view.blueprint]
    return view if any(_may_need_record(caller, b, view, actions) for b in versions) else None


def _may_need_record(caller: Principal, blueprint: Blueprint, view: JobView, actions: Sequence[str]) -> bool:
    if blueprint.asks_for_codes(actions) or contacts.phone_owner(caller, view, blueprint):
        return True
    if _is_customer(caller, view) and blueprint.codes.purposes and view.phase in PHASES_WITH_CODES:
        return True
    if _is_holder(caller, view) and view.status in blueprint.states and blueprint.states[view.status].is_asked:
        return True
    return (_is_customer(caller, view) or _is_holder(caller, view)) and view.status in blueprint.price.propose


def _is_customer(caller: Principal, view: JobView) -> bool:
    return caller.role == "customer" and view.customer_id == caller.id


def _is_holder(caller: Principal, view: JobView) -> bool:
    return caller.role == "technician" and view.holder_id == caller.id


async def _read_record(engine: Engine, caller: Principal, view: JobView) -> _JobRecord | None:
    """Read the job's record. Return None if Redis does not have the record any more."""
    names = [*RECORD_FIELDS, f"tries:{caller.id}"]
    found = await engine.store.command("HMGET", keys.job(view.zone, view.id), *names)
    record = _JobRecord(*((part or b"").decode() for part in found))
    return record if record.blueprint_key else None


def _members_for_caller(engine: Engine, caller: Principal, view: JobView, record: _JobRecord) -> dict[str, Any]:
    """Return the codes and the open proposal, if the caller may see them."""
    blueprint, more = engine.blueprints.find_exact(record.blueprint_key), dict[str, Any]()
    if blueprint is None:
        return more
    mine = _is_customer(caller, view)
    # The JSON may be older than the record: the job may have ended, or have another holder.
    if mine and blueprint.codes.purposes and view.phase in PHASES_WITH_CODES and record.phase in PHASES_WITH_CODES:
        more["codes"] = codes.codes_by_purpose(engine, blueprint, view.id, record.code_issue or "1")
    negotiating = record.status in blueprint.price.propose and record.price_locked != "1"
    if negotiating and (mine or (_is_holder(caller, view) and record.holder == caller.id)):
        proposal = _open_proposal(record)
        more |= {"proposal": proposal} if proposal else {}
    return more


def _open_proposal(record: _JobRecord) -> msgspec.Raw | None:
    """Return the job's open price proposal as JSON, as its event has it; None if no proposal is open.
    lua/lib/proposal.lua writes ``record.proposal``, in which the time and the reason are JSON.
    """
    if not record.proposal.startswith("open "):
        return None
    status, name, amount, by, holder, created, reason = record.proposal.split(" ", 6)
    if holder != record.holder:
        return None
    role, _, user = by.partition(":")
    reason_member = f',"reason":{reason}' if reason else ""
    members = f'{{"id":"{name}","amount":{amount},"by":{{"id":"{user}","role":"{role}"}}{reason_member}'
    return msgspec.Raw(f'{members},"status":"{status}","created_at":{created}}}'.encode())
