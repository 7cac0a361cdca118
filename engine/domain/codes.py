"""The codes that a customer gives to the technician, for example to start the work. The codes are derived and never
stored (DESIGN §5).

A code has six digits, from the HMAC-SHA-256 of job, purpose and issue number under the server's key, truncated as in
RFC 4226 §5.3. lua/lib/codes.lua counts the attempts and handles wrong codes; the script receives the number of the
issue with which the code was compared.
"""

from __future__ import annotations

import hmac
from typing import TYPE_CHECKING

from engine.blueprint.schema import Blueprint
from engine.store import keys
from engine.types import JobId, Zone

if TYPE_CHECKING:
    from engine.runtime import Engine


def derive_code(engine: Engine, job: str, purpose: str, issue_number: str) -> str:
    """Return the code of a job for one purpose, such as the start of the work. ``issue_number`` rises when the job gets
    new codes, so that the former ones are invalid.
    """
    digest = hmac.digest(engine.signer.derive_key("codes"), f"{job} {purpose} {issue_number}".encode(), "sha256")
    offset = digest[-1] & 0x0F
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06d}"


def codes_by_purpose(engine: Engine, blueprint: Blueprint, job: str, issue_number: str) -> dict[str, str]:
    """Return all codes of a job, by purpose, as its customer sees them."""
    return {purpose: derive_code(engine, job, purpose, issue_number) for purpose in blueprint.codes.purposes}


async def compare_code(
    engine: Engine, zone: Zone, job: JobId, purpose: str, entered_code: str
) -> dict[str, str | bool]:
    """Compare ``entered_code`` with the job's present code. Return the result and the issue number of the present code,
    as arguments for the step's script."""
    stored = await engine.store.command("HGET", keys.job(zone, job), "issue")
    issue = stored.decode() if stored else "1"
    right = derive_code(engine, job, purpose, issue).encode()
    return {"issue": issue, "right": hmac.compare_digest(entered_code.encode(), right)}
