"""Make the script arguments of the commands that open and resolve a dispute, for lua/lib/dispute.lua and
lua/lib/mediation.lua.
"""

from __future__ import annotations

from typing import Any

import msgspec

from engine.blueprint.schema import Command
from engine.errors import FieldError, Invalid
from engine.types import JobId, Principal, Zone, new_dispute_id


def dispute_arguments(
    caller: Principal, zone: Zone, job: JobId, command: Command, reason: str | None, dispute: str | None
) -> dict[str, Any]:
    """Return the arguments of a command that opens a dispute, or resolves ``dispute``; nothing for other commands.
    Raises Invalid at ``/reason`` for a dispute without a reason.
    """
    by = {"id": caller.id, "role": caller.role}
    if command.effect == "freeze":
        if reason is None:
            raise Invalid(errors=[FieldError("/reason", "Required: what the dispute is about")])
        dispute = new_dispute_id(zone)
        members: dict[str, Any] = {"id": dispute, "job": job, "by": by, "reason": reason}
        return {"dispute": dispute, "members": _encode_members(members)}
    if command.effect == "thaw":
        members = {"outcome": command.resolves, "note": reason, "mediator": by}
        user = by | {"name": msgspec.json.encode(caller.name).decode()}
        of_dispute = {"dispute": dispute} if dispute else {}
        return {"members": _encode_members(members), "mediator": user, **of_dispute}
    return {}


def _encode_members(members: dict[str, Any]) -> str:
    """Return the JSON of an object without its outer braces; the script adds further members."""
    return msgspec.json.encode(members)[1:-1].decode()
