"""Codes at the door: derived, never stored (DESIGN §5).

Six digits from HMAC-SHA-256 over job, purpose and issue number under the server's key, cut down as RFC 4226 §5.3 does.
Counting the tries, and what a wrong one leads to, is lua/lib/codes.lua's: it is told which issue was compared with.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from engine.blueprint.schema import Blueprint
from engine.store import keys
from engine.types import JobId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine


def derive(engine: Engine, job: str, purpose: str, issue: str) -> str:
    """The code of one purpose."""
    digest = hmac.digest(engine.signer.derive("codes"), f"{job} {purpose} {issue}".encode(), "sha256")
    place = digest[-1] & 0x0F
    number = int.from_bytes(digest[place : place + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"


def all_of(engine: Engine, blueprint: Blueprint, job: str, issue: str) -> dict[str, str]:
    """Every code of a job, by purpose, as its customer is shown them."""
    return {purpose: derive(engine, job, purpose, issue) for purpose in blueprint.codes.purposes}


async def compared(engine: Engine, zone: Zone, job: JobId, purpose: str, given: str) -> dict[str, str | bool]:
    """Whether ``given`` is the job's present code, and of which issue, as the step's script takes it."""
    stored = await engine.store.command("HGET", keys.job(zone, job), "issue")
    issue = stored.decode() if stored else "1"
    right = derive(engine, job, purpose, issue).encode()
    return {"issue": issue, "right": hmac.compare_digest(given.encode(), right)}
