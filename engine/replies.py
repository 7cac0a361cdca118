"""A job in a reply: its JSON with what stands there for this caller alone, and in no event.

``actions`` is what he may do now; ``codes`` are shown to its customer while somebody has it, ``proposal`` to its two
sides while the price that one of them proposed waits for the other's answer. What they depend on is not in the job's
JSON. It is read from its record, all of it at once, and only where the job's blueprint and state and the caller let
there be any: most answers need no read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from engine import codes
from engine.rules.lifecycle import Blueprint
from engine.store import keys
from engine.types import JobId, Phase, Principal, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

CODED = ("assigned", "active")
"""Phases in which the customer is shown the codes."""


class _Party(msgspec.Struct):
    id: str


class _Card(msgspec.Struct):
    """What of a job's JSON decides what may stand with it."""

    id: JobId
    zone: Zone
    blueprint: str
    status: str
    phase: Phase
    customer: _Party | None = None
    technician: _Party | None = None


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
    tries: str

    @property
    def tried(self) -> int:
        """How many wrong codes the caller has given under the present issue (lua/lib/codes.lua)."""
        issue, _, used = self.tries.partition(" ")
        return int(used) if issue == (self.issue or "1") else 0


_card = msgspec.json.Decoder(_Card)


def with_actions(job: bytes, actions: list[str], **more: Any) -> bytes:
    """A job's JSON with what the caller may do now, and ``more`` members."""
    return job[:-1] + b"," + msgspec.json.encode({"actions": actions, **more})[1:]


async def one(
    engine: Engine, caller: Principal, blueprint: Blueprint, job: bytes, actions: list[str], *, fresh: bool = False
) -> bytes:
    """A job with everything, as the caller of a command or a read is answered.

    Of ``actions``, what its state allows him, those are left out that its codes forbid now. ``fresh``: he became its
    holder by this very step, so that no code was tried by him and no price proposed to him yet.
    """
    card = None if fresh else _of_interest(caller, [blueprint], job, actions)
    record = await _record(engine, caller, card) if card else None
    tried, reissued = (record.tried, int(record.reissued or 0)) if record else (0, 0)
    possible = blueprint.unlocked(actions, tried=tried, reissued=reissued)
    more = _beside(engine, caller, card, record) if card and record else {}
    return with_actions(job, possible, **more)


async def many(engine: Engine, caller: Principal, jobs: Iterable[bytes]) -> list[bytes]:
    """The jobs of a list, each with its codes and its proposal; ``actions`` stand with single ones."""
    return list(await asyncio.gather(*(_listed(engine, caller, job) for job in jobs)))


async def _listed(engine: Engine, caller: Principal, job: bytes) -> bytes:
    card = _of_interest(caller, list(engine.blueprints.by_key.values()), job, [])
    record = await _record(engine, caller, card) if card else None
    more = _beside(engine, caller, card, record) if card and record else {}
    return job[:-1] + b"," + msgspec.json.encode(more)[1:] if more else job


def _of_interest(
    caller: Principal, blueprints: Sequence[Blueprint], job: bytes, actions: Sequence[str]
) -> _Card | None:
    """The job's card where its record may have something for the caller, by any version of its blueprint."""
    telling = [b for b in blueprints if b.codes.purposes or b.price.propose]
    if not telling or (caller.role not in ("customer", "technician") and not actions):
        return None
    card = _card.decode(job)
    versions = [b for b in telling if b.name == card.blueprint]
    return card if any(_may_hold(caller, b, card, actions) for b in versions) else None


def _may_hold(caller: Principal, blueprint: Blueprint, card: _Card, actions: Sequence[str]) -> bool:
    if blueprint.asks_codes(actions):
        return True
    if _is_customer(caller, card) and blueprint.codes.purposes and card.phase in CODED:
        return True
    return (_is_customer(caller, card) or _is_holder(caller, card)) and card.status in blueprint.price.propose


def _is_customer(caller: Principal, card: _Card) -> bool:
    return caller.role == "customer" and card.customer is not None and card.customer.id == caller.id


def _is_holder(caller: Principal, card: _Card) -> bool:
    return caller.role == "technician" and card.technician is not None and card.technician.id == caller.id


async def _record(engine: Engine, caller: Principal, card: _Card) -> _Record | None:
    """What the job's record holds now; None where it is gone."""
    names = [*_Record._fields[:-1], f"tries:{caller.id}"]
    found = await engine.store.command("HMGET", keys.job(card.zone, card.id), *names)
    record = _Record(*((part or b"").decode() for part in found))
    return record if record.bp else None


def _beside(engine: Engine, caller: Principal, card: _Card, record: _Record) -> dict[str, Any]:
    """The codes, and the proposal that is open, as far as they are the caller's to see."""
    blueprint, more = engine.blueprints.of(record.bp), dict[str, Any]()
    mine = _is_customer(caller, card)
    # Told as it was, it may be over since, or another's.
    if mine and blueprint.codes.purposes and card.phase in CODED and record.phase in CODED:
        more["codes"] = codes.all_of(engine, blueprint, card.id, record.issue or "1")
    talking = record.status in blueprint.price.propose and record.price_locked != "1"
    if talking and (mine or (_is_holder(caller, card) and record.holder == caller.id)):
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
