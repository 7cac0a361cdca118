"""Accounts that stand in Redis alone, for tests that need no database."""

from __future__ import annotations

import uuid

from engine.identity import access, outbox
from engine.identity.access import AccountRecord
from engine.runtime import Engine
from engine.types import Role, UserId


async def account(engine: Engine, user: str, role: Role, *, version: int = 1, active: bool = True) -> None:
    """Put somebody's record."""
    await access.put(engine, AccountRecord(id=UserId(user), role=role, active=active, version=version))


async def suspended(engine: Engine, user: str, role: Role = "customer", *, version: int = 9) -> None:
    """What a suspension comes to in Redis."""
    await account(engine, user, role, version=version, active=False)
    await outbox.tell(engine, UserId(user), code=outbox.REVOKED, key=str(uuid.uuid4()))


async def has_role(engine: Engine, user: str, role: Role, *, version: int = 9) -> None:
    """What another role comes to in Redis."""
    await account(engine, user, role, version=version)
    await outbox.tell(engine, UserId(user), code=outbox.ROLE_CHANGED, key=str(uuid.uuid4()))
