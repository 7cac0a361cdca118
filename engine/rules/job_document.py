"""The members of a job that stand in its record as text, encoded once: all of them, and those of its public part.

What moves with every step (status, version, amount, …) is joined to them by lua/lib/job.lua.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

PUBLIC = (
    *("id", "zone", "blueprint", "service", "lat", "lon", "currency", "pricing", "public_notes", "scheduled_for"),
    "created_at",
)
MOVING = ("amount", "status", "phase", "version", "updated_at", "at", "expires_at")
"""What lua/lib/job.lua joins to them."""


def whole(members: Mapping[str, Any]) -> bytes:
    """All members, without the braces."""
    return msgspec.json.encode(members)[1:-1]


def public(members: Mapping[str, Any]) -> bytes:
    """Those for technicians who are offered the job, without the braces.

    PROTOCOL §2: no customer, address, postal code, notes, reference nor metadata, and the position rounded to 100 m
    (three decimals of a degree are 111 m of latitude).
    """
    near = {"lat": round(members["lat"], 3), "lon": round(members["lon"], 3)}
    return whole({name: near.get(name, members[name]) for name in PUBLIC if name in members})


def public_part(job: bytes, *, holder: bool = False) -> bytes:
    """The public part of a whole job as an event holds it, for what lua/lib/job.lua cannot make: jobs as they were,
    and jobs in SQL. It names the technician to a ``holder`` who is merely asked alone.
    """
    found: dict[str, Any] = msgspec.json.decode(job)
    moving = {name: found[name] for name in MOVING if name in found}
    technician = found.get("technician") if holder else None
    return b"{" + public(found) + b"," + whole({**moving, "technician": technician}) + b"}"


def members(text: bytes) -> dict[str, Any]:
    """What ``whole`` encoded, in the same order: lua/lib/cost.lua takes the first of a name."""
    found: dict[str, Any] = msgspec.json.decode(b"{" + text + b"}")
    return found
