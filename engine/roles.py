"""The roles that may use the commands of accounts, services and profiles, and that HTTP routes and WebSocket messages
admit. Which roles may take a step of a job is declared by the job's blueprint.

Each set lists its members one by one, never as "all except": a new role in ``Role`` is admitted nowhere until the role
is added to a set here.
"""

from __future__ import annotations

from collections.abc import Collection

from engine.errors import Forbidden
from engine.types import MANAGERS, OPS, Principal, Role

ADMIN_ROLE: frozenset[Role] = frozenset({"admin"})
REVIEWER_ROLES: frozenset[Role] = frozenset({"onboarding_manager", "admin"})

TECHNICIAN_ROLE: frozenset[Role] = frozenset({"technician"})
CUSTOMER_ROLE: frozenset[Role] = frozenset({"customer"})
SERVICE_ROLE: frozenset[Role] = frozenset({"service"})
MEDIATOR_ROLE: frozenset[Role] = frozenset({"mediator"})
PARTY_ROLES: frozenset[Role] = frozenset({"customer", "technician"})
BOOKER_ROLES: frozenset[Role] = OPS | {"customer", "service"}
JOB_READER_ROLES: frozenset[Role] = OPS | {"customer", "technician", "mediator", "service"}
WHOLE_JOB_READER_ROLES: frozenset[Role] = OPS | {"customer", "mediator", "service"}
"""The roles that see the whole of each job that they may see at all."""
ALL_JOBS_READER_ROLES: frozenset[Role] = OPS | {"service"}
"""The roles whose lists contain all jobs."""
ANY_ROLE: frozenset[Role] = MANAGERS | {"customer", "technician", "mediator", "service"}
"""Every role that can sign in."""

__all__ = [
    "ADMIN_ROLE",
    "ALL_JOBS_READER_ROLES",
    "ANY_ROLE",
    "BOOKER_ROLES",
    "CUSTOMER_ROLE",
    "JOB_READER_ROLES",
    "MANAGERS",
    "MEDIATOR_ROLE",
    "OPS",
    "PARTY_ROLES",
    "REVIEWER_ROLES",
    "SERVICE_ROLE",
    "TECHNICIAN_ROLE",
    "WHOLE_JOB_READER_ROLES",
    "require_role",
]


def require_role(caller: Principal, roles: Collection[Role]) -> None:
    """Raise Forbidden unless the caller has one of ``roles``."""
    if caller.role not in roles:
        raise Forbidden
