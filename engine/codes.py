"""Codes at the door: derived, never stored (DESIGN §5).

Six digits from HMAC-SHA-256 over job, purpose and issue number under the server's key, cut down as RFC 4226 §5.3 does.
Counting the tries, and what a wrong one leads to, is lua/lib/codes.lua's: it is told which issue was compared with.
"""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from engine.rules.lifecycle import Blueprint
from engine.store import keys
from engine.types import JobId, Phase, Principal, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine

SHOWN = ("assigned", "active")
"""Phases in which the customer is shown the codes."""


class _Party(msgspec.Struct):
    id: str


class _Card(msgspec.Struct):
    """What of a job's JSON decides whether codes are shown with it."""

    id: JobId
    zone: Zone
    blueprint: str
    phase: Phase
    customer: _Party | None = None


_card = msgspec.json.Decoder(_Card)


def derive(engine: Engine, job: str, purpose: str, issue: str) -> str:
    """The code of one purpose."""
    digest = hmac.digest(engine.signer.derive("codes"), f"{job} {purpose} {issue}".encode(), "sha256")
    place = digest[-1] & 0x0F
    number = int.from_bytes(digest[place : place + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"


def all_of(engine: Engine, blueprint: Blueprint, job: str, issue: str) -> dict[str, str]:
    """Every code of a job, by purpose, as its customer is shown them."""
    return {purpose: derive(engine, job, purpose, issue) for purpose in blueprint.codes.purposes}


async def shown(engine: Engine, caller: Principal, job: bytes) -> bytes:
    """A job's JSON as the caller is answered: with its codes to its customer alone, while somebody has it."""
    if caller.role != "customer":
        return job
    card = _card.decode(job)
    has = any(b.codes.purposes for b in engine.blueprints.by_key.values() if b.name == card.blueprint)
    if not has or card.phase not in SHOWN:
        return job
    if card.customer is None or card.customer.id != caller.id:
        return job
    phase, bp, issue = await engine.store.run("HMGET", keys.job(card.zone, card.id), "phase", "bp", "issue")
    if phase is None or phase.decode() not in SHOWN:
        return job  # told as it was, and over since
    found = all_of(engine, engine.blueprints.of(bp.decode()), card.id, issue.decode() if issue else "1")
    return job[:-1] + b',"codes":' + msgspec.json.encode(found) + b"}"


async def all_shown(engine: Engine, caller: Principal, jobs: Iterable[bytes]) -> list[bytes]:
    """The same for many."""
    return list(await asyncio.gather(*(shown(engine, caller, job) for job in jobs)))


async def compared(engine: Engine, zone: Zone, job: JobId, purpose: str, given: str) -> dict[str, str | bool]:
    """Whether ``given`` is the job's present code, and of which issue, as the step's script takes it."""
    stored = await engine.store.run("HGET", keys.job(zone, job), "issue")
    issue = stored.decode() if stored else "1"
    return {"issue": issue, "right": hmac.compare_digest(given, derive(engine, job, purpose, issue))}
