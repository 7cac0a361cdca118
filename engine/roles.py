"""Who may use the commands of accounts, catalogue and profiles, and which roles routes and socket ops admit. Steps of
jobs are their blueprint's to allow.

The sets name their members one by one, none by "all but": a role that is added to ``Role`` gets in nowhere until it is
named here.
"""

from __future__ import annotations

from collections.abc import Collection

from engine.errors import Forbidden
from engine.types import MANAGERS, OPS, Principal, Role

ADMIN: frozenset[Role] = frozenset({"admin"})
REVIEWERS: frozenset[Role] = frozenset({"onboarding_manager", "admin"})

TECHNICIAN: frozenset[Role] = frozenset({"technician"})
CUSTOMER: frozenset[Role] = frozenset({"customer"})
SERVICE: frozenset[Role] = frozenset({"service"})
MEDIATOR: frozenset[Role] = frozenset({"mediator"})
SIDES: frozenset[Role] = frozenset({"customer", "technician"})
BOOKERS: frozenset[Role] = OPS | {"customer", "service"}
JOB_READERS: frozenset[Role] = OPS | {"customer", "technician", "mediator", "service"}
USERS: frozenset[Role] = MANAGERS | {"customer", "technician", "mediator", "service"}
"""Whoever has signed in."""

__all__ = [
    "ADMIN",
    "BOOKERS",
    "CUSTOMER",
    "JOB_READERS",
    "MANAGERS",
    "MEDIATOR",
    "OPS",
    "REVIEWERS",
    "SERVICE",
    "SIDES",
    "TECHNICIAN",
    "USERS",
    "demand",
]


def demand(caller: Principal, roles: Collection[Role]) -> None:
    """Let only ``roles`` pass. Raises Forbidden."""
    if caller.role not in roles:
        raise Forbidden
