"""The rows of files in SQL. A row is inserted before its blob is stored. Therefore a blob that a row names is never
deleted, even if another user uploads the same bytes at the same time. The *release* of a blob is a note in SQL that a
row which named it was deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import Column, ColumnElement, delete, exists, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.clock import now_ms
from engine.errors import Forbidden, Unavailable
from engine.files import row_bounds
from engine.sql.database import Archive
from engine.sql.file_tables import file_releases, files
from engine.sql.insert import insert_into
from engine.sql.vault_tables import receipts
from engine.types import Zone

TargetKind = Literal["job", "room", "technician"]
BLOB_COLUMNS: list[Column[Any]] = [files.c.sha256, receipts.c.image]
"""The columns that name blobs. A blob is deleted only if none of them names it."""
UNATTACHED_MS = 24 * 3600 * 1000
"""How long a file may exist without being attached to a job, a message or a technician."""
ROWS_PER_BATCH = 500
DELETION_MS = 60_000
"""How long a chore may take to delete a blob: longer than a store may answer."""
DELETION_WAIT_S, DELETION_WAITS = 0.1, 250
"""How often, and how many times, an upload looks whether the deletion of the same bytes is over: 25 s in all."""


class FileRow(NamedTuple):
    """A row of the table ``files``."""

    id: str
    target: str
    sha256: str
    kind: str
    media: str
    bytes: int
    width: int
    height: int
    by: str
    by_role: str
    created_at: int
    used_at: int
    attached_at: int | None = None
    client_id: str | None = None
    n: int | None = None

    @property
    def target_kind(self) -> str:
        """Return ``job``, ``room`` or ``technician``."""
        return self.target.partition(":")[0]

    @property
    def target_id(self) -> str:
        """Return the id of the job, the room or the technician."""
        return self.target.partition(":")[2]


async def store_row(archive: Archive, row: FileRow, *, is_bounded: bool = True) -> tuple[FileRow, bool]:
    """Insert a row, or find the one that the same user uploaded with the same bytes for the same target. Return the row
    and whether it is new. The caller stores the blob afterwards. Raises Unavailable, Indeterminate, and the errors of
    row_bounds.py if ``is_bounded``.
    """
    for _ in range(DELETION_WAITS):
        if (stored := await _insert_row(archive, row, is_bounded=is_bounded)) is not None:
            return stored
        await asyncio.sleep(DELETION_WAIT_S)
    raise Unavailable("The same bytes are being deleted", retry_after=1)


async def _insert_row(archive: Archive, row: FileRow, *, is_bounded: bool) -> tuple[FileRow, bool] | None:
    """Insert or find a row; return None if a chore deletes the blob now."""
    insert = insert_into(archive, files).values(row._asdict())
    stored = insert.on_conflict_do_update(index_elements=["target", "sha256", "by"], set_={"used_at": row.used_at})
    this = file_releases.c.sha256 == row.sha256
    async with archive.begin_write() as conn:
        if is_bounded:
            await row_bounds.lock_account(conn, row.by)
        # The row of the release is a lock: this waits for a chore that begins or ends a deletion, and it for this.
        await release_blobs(conn, archive, [row.sha256])
        until = (await conn.execute(select(file_releases.c.deleting_until).where(this))).scalar_one()
        if until is not None and until > now_ms():
            return None
        found = FileRow(*(await conn.execute(stored.returning(*files.c))).one())
        await conn.execute(delete(file_releases).where(this))
        is_new = found.id == row.id
        if is_new and is_bounded:
            await row_bounds.check_new_row(conn, row.target, row.by)
        return found, is_new


async def confirm_row(archive: Archive, row: FileRow) -> None:
    """Check that a row is still there after its blob was stored. If an erasure deleted the row meanwhile, release the
    blob, which may have been stored after the deletion, and raise Forbidden. Raises Unavailable, Indeterminate.
    """
    if await find_row(archive, row.id) is None:
        async with archive.begin_write() as conn:
            await release_blobs(conn, archive, [row.sha256])
        raise Forbidden("This account is closed")


async def find_row(archive: Archive, file: str) -> FileRow | None:
    """Return the row of a file. Raises Unavailable."""
    return next(iter(await find_rows(archive, files.c.id == file)), None)


async def find_rows(archive: Archive, *conditions: ColumnElement[bool]) -> list[FileRow]:
    """Return rows, the oldest first. Raises Unavailable."""
    query = select(files).where(*conditions).order_by(files.c.created_at, files.c.id)
    async with archive.begin_read() as conn:
        return [FileRow(*row) for row in await conn.execute(query)]


async def claim_for_message(
    archive: Archive, target: str, by: str, ids: Sequence[str], client_id: str
) -> list[FileRow]:
    """Note the ``client_id`` of a message in the files that it names, and return the files that ``by`` uploaded for
    this room. A sender may name only those. Raises Unavailable, Indeterminate.
    """
    mine = (files.c.id.in_(ids), files.c.target == target, files.c.by == by)
    async with archive.begin_write() as conn:
        await conn.execute(update(files).where(*mine).values(client_id=client_id, used_at=now_ms()))
        return [FileRow(*row) for row in await conn.execute(select(files).where(*mine))]


async def delete_rows(conn: AsyncConnection, archive: Archive, *conditions: ColumnElement[bool]) -> int:
    """Delete rows in the transaction of the caller, and return their number. A chore deletes their blobs later if no
    other row names them.
    """
    blobs = list((await conn.execute(select(files.c.sha256).where(*conditions))).scalars())
    await release_blobs(conn, archive, blobs)
    await conn.execute(delete(files).where(*conditions))
    return len(blobs)


async def release_blobs(conn: AsyncConnection, archive: Archive, blobs: Sequence[str]) -> None:
    """Store a release of each blob in the transaction of the caller. Its row is also a lock: uploads and the chore that
    deletes blobs wait for each other.
    """
    if not blobs:
        return
    at = now_ms()
    release = insert_into(archive, file_releases).values([{"sha256": each, "at": at} for each in sorted(set(blobs))])
    await conn.execute(release.on_conflict_do_update(index_elements=["sha256"], set_={"at": at}))


async def delete_unattached(archive: Archive, zones: Collection[Zone]) -> int:
    """Delete a batch of files that were attached to nothing for ``UNATTACHED_MS``, of technicians and of these zones,
    whose logs SQL has. Return their number. Raises Unavailable, Indeterminate.
    """
    starts = [f"{kind}_{zone}_" for zone in zones for kind in ("job:job", "room:room", "receipt:rcp")]
    known = [files.c.target.startswith(start, autoescape=True) for start in ("technician:", *starts)]
    old = (files.c.attached_at.is_(None), files.c.used_at < now_ms() - UNATTACHED_MS, or_(*known))
    async with archive.begin_write() as conn:
        found = list((await conn.execute(select(files.c.id).where(*old).limit(ROWS_PER_BATCH))).scalars())
        return await delete_rows(conn, archive, files.c.id.in_(found), *old)


async def released_blobs(archive: Archive) -> list[tuple[str, int]]:
    """Return a batch of releases: the SHA-256 of each blob and the time of its release (Unix milliseconds). Raises
    Unavailable.
    """
    query = select(file_releases.c.sha256, file_releases.c.at).limit(ROWS_PER_BATCH)
    async with archive.begin_read() as conn:
        return [(row.sha256, row.at) for row in await conn.execute(query)]


async def end_release(archive: Archive, sha256: str, at: int, delete_blob: Callable[[str], Awaitable[None]]) -> bool:
    """Forget a release, and delete the blob if no row names it. Return whether it was deleted.

    The blob is deleted between two transactions, because a store may take seconds and SQLite has one writer. Meanwhile
    an upload of the same bytes waits, and then stores the bytes again. If this process dies in between, the deletion
    ends after ``DELETION_MS``, and another chore begins anew. Raises Unavailable, Indeterminate.
    """
    until = now_ms() + DELETION_MS
    if not await _begin_deletion(archive, sha256, at, until):
        return False
    await delete_blob(sha256)
    async with archive.begin_write() as conn:
        mine = (file_releases.c.sha256 == sha256, file_releases.c.deleting_until == until)
        await conn.execute(delete(file_releases).where(*mine))
    return True


async def _begin_deletion(archive: Archive, sha256: str, at: int, until: int) -> bool:
    """Note that a blob is being deleted. Return False if it stays, or if another chore deletes it."""
    is_free = or_(file_releases.c.deleting_until.is_(None), file_releases.c.deleting_until < now_ms())
    this = (file_releases.c.sha256 == sha256, file_releases.c.at == at, is_free)
    async with archive.begin_write() as conn:
        if not (await conn.execute(update(file_releases).where(*this).values(deleting_until=until))).rowcount:
            return False  # the bytes were uploaded again, or released again
        names = [exists().where(column == sha256) for column in BLOB_COLUMNS]
        if (await conn.execute(select(or_(*names)))).scalar():
            await conn.execute(delete(file_releases).where(file_releases.c.sha256 == sha256))
            return False
        return True
