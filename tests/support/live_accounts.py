"""Write account records only to Redis, for tests that need no database."""

from __future__ import annotations

import uuid

from engine.identity import access, outbox
from engine.identity.access import AccountRecord
from engine.runtime import Engine
from engine.types import Role, UserId


async def put_account(engine: Engine, user: str, role: Role, *, version: int = 1, active: bool = True) -> None:
    """Write the account record of ``user`` to Redis."""
    await access.write_to_redis(engine, AccountRecord(id=UserId(user), role=role, active=active, version=version))


async def suspend(engine: Engine, user: str, role: Role = "customer", *, version: int = 9) -> None:
    """Write to Redis what the suspension of an account writes: an inactive record, and
    ``session.revoked`` in the log.
    """
    await put_account(engine, user, role, version=version, active=False)
    await outbox.append_revocation(engine, UserId(user), code=outbox.REVOKED_CODE, key=str(uuid.uuid4()))


async def change_role(engine: Engine, user: str, role: Role, *, version: int = 9) -> None:
    """Write to Redis what a change of role writes: the record with the new role, and ``session.revoked`` in the log."""
    await put_account(engine, user, role, version=version)
    await outbox.append_revocation(engine, UserId(user), code=outbox.ROLE_CHANGED_CODE, key=str(uuid.uuid4()))
