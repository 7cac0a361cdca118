"""Upload and attach files: photos of jobs, files of chat messages, documents of technicians. file_access.py decides who
may read them.

The caller's right is checked before the body is read, so that nobody sends 8 MiB in vain. The row is inserted in SQL
before the bytes are stored (engine/workers/file_removal.py relies on this). The step that attaches the file comes last.
A file that is not attached within a day is deleted.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import update

from engine.archive import reader
from engine.blueprint.relation import relations
from engine.blueprint.schema import Blueprint
from engine.clock import now_ms
from engine.domain import job_queries, jobs, rooms
from engine.domain.commands import new_context
from engine.domain.own_blueprint import run_with_own_blueprint
from engine.errors import FieldError, IllegalTransition, Invalid, NotFound, RoomClosed
from engine.files import file_rows
from engine.files.file_object import FileObject, file_object
from engine.files.file_rows import FileRow
from engine.idempotency.in_redis import parse_job_id
from engine.rules import job_document
from engine.sql.file_tables import files
from engine.store.connection import ScriptReply
from engine.types import Principal, new_id

if TYPE_CHECKING:
    from engine.runtime import Engine

MAX_OF_USER, MAX_OF_JOB = 20, 200
"""The most photos of a job by one user and by all (``JobFiles`` in Lua)."""
DEFAULT_KINDS = {"job": "photo", "room": "photo", "technician": "document"}


class UploadOutcome(msgspec.Struct, frozen=True):
    """An uploaded file, and whether the same bytes were uploaded before."""

    file: msgspec.Raw | FileObject
    repeated: bool


class _JobPhotos(msgspec.Struct):
    photos: list[msgspec.Raw] = []


class _RoomState(msgspec.Struct):
    state: str


def parse_target(target: str) -> tuple[str, str]:
    """Return the kind and the id of a target, such as ``job:<id>``. Raises NotFound if it is no job, room or
    technician.
    """
    kind, _, name = target.partition(":")
    if kind not in DEFAULT_KINDS:
        raise NotFound("No such job, room or technician")
    return kind, name


async def check_may_add(engine: Engine, caller: Principal, target: str) -> None:
    """Raise NotFound, NotMember, RoomClosed, IllegalTransition or Invalid if the caller may not add a file to
    ``target`` now.
    """
    kind, name = parse_target(target)
    if kind == "room":
        room = msgspec.json.decode(await rooms.read_own_room(engine, caller, name), type=_RoomState)
        if room.state != "open":
            raise RoomClosed
    elif kind == "technician":
        if caller.role != "technician" or caller.id != name:
            raise NotFound("No such technician")
    else:
        await _check_job(engine, caller, name)


async def _check_job(engine: Engine, caller: Principal, job_id: str) -> None:
    zone, job = parse_job_id(job_id)
    try:
        document = (await jobs.read_record(engine, caller, zone, job))[0]
    except NotFound:  # the job is archived, and no longer in Redis
        document = await reader.job(engine.archive, job) or b""
    view = job_document.decode_job(document) if document else None
    if view is None or not {"customer", "holder"}.intersection(relations(caller, view)):
        raise NotFound("No such job")
    takes_photos = view.phase in ("assigned", "active") and not view.asked
    if not takes_photos and not view.photos:  # a repeat of a photo that the job has is answered, also at the end
        raise IllegalTransition("A job takes photos from acceptance until it is signed or over")


async def upload(
    engine: Engine, caller: Principal, target: str, kind: str | None, parts: AsyncIterator[bytes], *, trace: str = ""
) -> UploadOutcome:
    """Receive a photo, strip its metadata, store it and attach it to a job or a technician. The file of a room is
    attached by the message that names it.

    Raises the errors of ``check_may_add`` before anything is received; TooLarge, Invalid, RateLimited, Forbidden,
    Unavailable, Indeterminate.
    """
    target_kind, _ = parse_target(target)
    await check_may_add(engine, caller, target)
    with engine.uploads.take(caller.id) as running:
        stripped = await engine.uploads.receive(engine.blobs.temporary, parts, running)
        photo, now = stripped.photo, now_ms()
        row = FileRow(
            id=new_id("file"),
            target=target,
            sha256=stripped.sha256,
            kind=kind or DEFAULT_KINDS[target_kind],
            media=photo.media,
            bytes=stripped.size,
            width=photo.width,
            height=photo.height,
            by=caller.id,
            by_role=caller.role,
            created_at=now,
            used_at=now,
        )
        try:
            row, is_new = await file_rows.store_row(engine.archive, row)
            await engine.blobs.put(stripped.sha256, stripped.path)
            await file_rows.confirm_row(engine.archive, row)
        finally:
            await asyncio.to_thread(stripped.path.unlink, missing_ok=True)
    if target_kind == "job":
        photo_json, is_repeated = await _attach_to_job(engine, caller, row, trace)
        _check_kind(msgspec.json.decode(photo_json, type=FileObject).kind, kind)
        return UploadOutcome(photo_json, repeated=is_repeated)
    _check_kind(row.kind, kind)
    if target_kind == "technician":
        mine = update(files).where(files.c.id == row.id, files.c.attached_at.is_(None))
        async with engine.archive.begin_write() as conn:
            await conn.execute(mine.values(attached_at=now))
    return UploadOutcome(file_object(row), repeated=not is_new)


def _check_kind(found: str, wanted: str | None) -> None:
    """Raise Invalid if the same bytes are there under another kind than the caller asks for."""
    if wanted is not None and found != wanted:
        raise Invalid(errors=[FieldError("/kind", f"The same bytes are there already, as {found}")])


async def _attach_to_job(engine: Engine, caller: Principal, row: FileRow, trace: str) -> tuple[msgspec.Raw, bool]:
    """Add a photo to its job. Return the photo as the job has it, and whether the job had it before."""
    context = new_context(engine, caller, row.target_id, "file_attach", row.sha256, None, trace)
    text = msgspec.json.encode(file_object(row)).rpartition(b',"at":')[0]  # the script sets the time

    async def attach(blueprint: Blueprint) -> ScriptReply:
        return await engine.store.run(
            context.zone,
            "file_attach",
            keys={name: key for name, key in context.script_keys().items() if name in ("meta", "job", "log")},
            args={
                "actor": context.actor,
                "trace": trace,
                "bp": blueprint.key,
                "file": text,
                "sha256": row.sha256,
                "audience": blueprint.audience("file.added"),
            },
        )

    try:
        done = await run_with_own_blueprint(engine, context, attach)
    except (NotFound, IllegalTransition, Invalid) as error:
        if isinstance(error, Invalid):
            raise Invalid(f"At most {MAX_OF_USER} photos of each user, and {MAX_OF_JOB} of a job") from error
        raise
    return _photo_of_reply(done, row.sha256), done.repeated


def _photo_of_reply(done: ScriptReply, sha256: str) -> msgspec.Raw:
    return next(
        photo for photo in _photos_of(done.values[1]) if msgspec.json.decode(photo, type=FileObject).sha256 == sha256
    )


async def files_of_message(
    engine: Engine, caller: Principal, room_id: str, ids: tuple[str, ...], client_id: str
) -> list[FileObject]:
    """Return the files that a message names. Raises NotFound, NotMember, and Invalid for each file that the caller did
    not upload for this room. Several messages may name the same file.
    """
    # checked first, so that a stranger cannot find out which files exist
    await rooms.read_own_room(engine, caller, room_id)
    found = await file_rows.claim_for_message(engine.archive, f"room:{room_id}", caller.id, ids, client_id)
    known = {row.id: row for row in found}
    wrong = [place for place, name in enumerate(ids) if name not in known or name in ids[:place]]
    if wrong:
        raise Invalid(errors=[FieldError(f"/files/{place}", "No such file") for place in wrong])
    return [file_object(known[name]) for name in ids]


async def list_photos(engine: Engine, caller: Principal, job_id: str) -> list[FileObject]:
    """Return the photos of a job, if the caller may see the whole job. Raises NotFound."""
    job = await job_queries.read_job(engine, caller, job_id)
    if job_document.decode_job(job).customer is None:
        raise NotFound("No such job")
    return [msgspec.json.decode(photo, type=FileObject) for photo in _photos_of(job)]


def _photos_of(job: bytes) -> list[msgspec.Raw]:
    return msgspec.json.decode(job, type=_JobPhotos).photos
