"""Who may use the commands of accounts, catalogue and profiles. Steps of jobs are their blueprint's to allow."""

from __future__ import annotations

from collections.abc import Collection

from engine.errors import Forbidden
from engine.types import MANAGERS, OPS, Principal, Role

ADMIN: frozenset[Role] = frozenset({"admin"})
REVIEWERS: frozenset[Role] = frozenset({"onboarding_manager", "admin"})

__all__ = ["ADMIN", "MANAGERS", "OPS", "REVIEWERS", "demand"]


def demand(caller: Principal, roles: Collection[Role]) -> None:
    """Let only ``roles`` pass. Raises Forbidden."""
    if caller.role not in roles:
        raise Forbidden
