"""The bounds of the rows of files. They are checked in the transaction that inserts a row, so that uploads at once keep
them.
"""

from __future__ import annotations

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.errors import Forbidden, Invalid, RateLimited
from engine.sql.file_tables import files
from engine.sql.schema import users

MAX_DOCUMENTS = 20
"""The most documents of a technician."""
MAX_UNATTACHED, MAX_UNATTACHED_BYTES = 200, 512 * 2**20
"""The most files of one user that hang on nothing. While the archiver is behind, files that events attached count."""
RETRY_AFTER_S = 600.0


async def lock_account(conn: AsyncConnection, user: str) -> None:
    """Let the uploads of one user wait for each other, and for a change of their account. Raises Forbidden if the
    account was closed since the upload began: an erasure would not find its row.
    """
    # this lock does not stop logins
    query = select(users.c.active).where(users.c.id == user).with_for_update(key_share=True)
    if (await conn.execute(query)).scalar_one_or_none() is False:
        raise Forbidden("This account is closed")


async def check_new_row(conn: AsyncConnection, target: str, user: str) -> None:
    """Raise Invalid if a technician has too many documents with the row that was inserted, RateLimited if the user has
    too many files that hang on nothing.
    """
    if target.startswith("technician:"):
        documents = select(func.count()).select_from(files).where(files.c.target == target)
        if (await conn.execute(documents)).scalar_one() > MAX_DOCUMENTS:
            raise Invalid(f"At most {MAX_DOCUMENTS} files")
    sums = select(func.count(), func.coalesce(func.sum(files.c.bytes), 0))
    unattached = sums.where(files.c.by == user, files.c.attached_at.is_(None))
    count, size = (await conn.execute(unattached)).one()
    if count > MAX_UNATTACHED or size > MAX_UNATTACHED_BYTES:
        raise RateLimited(
            f"At most {MAX_UNATTACHED} files and {MAX_UNATTACHED_BYTES // 2**20} MiB that hang on nothing",
            retry_after=RETRY_AFTER_S,
        )
