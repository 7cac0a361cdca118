"""Decide who may read a file: the users who may read the object to which it is attached, at the time of the request.

A photo of a job: the job's customer, its holder once they have accepted, ops, and the mediator of its open dispute. A
file of a message: the users who may read the message. A document: its technician and the staff who review technicians.
A file that is not attached yet: the user who uploaded it. All others receive ``not_found``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.archive import reader
from engine.domain import jobs, message_history, rooms
from engine.domain.message_history import MessageQuery
from engine.domain.rooms import parse_room_id
from engine.errors import NotFound, NotMember
from engine.files import file_rows
from engine.files.file_rows import FileRow
from engine.idempotency.in_redis import parse_job_id
from engine.roles import REVIEWER_ROLES
from engine.rules import job_document
from engine.store import keys
from engine.types import JobId, Principal, is_id

if TYPE_CHECKING:
    from engine.runtime import Engine


class _FileId(msgspec.Struct):
    id: str


class _Message(msgspec.Struct):
    files: list[_FileId | str] = []


async def read_file(engine: Engine, caller: Principal, file: str) -> FileRow:
    """Return the row of a file that the caller may read. Raises NotFound, Unavailable."""
    row = await file_rows.find_row(engine.archive, file) if is_id(file) else None
    if row is None or not await _may_read(engine, caller, row):
        raise NotFound("No such file")
    return row


async def _may_read(engine: Engine, caller: Principal, row: FileRow) -> bool:
    if row.target_kind == "technician":
        return caller.role in REVIEWER_ROLES or (caller.role == "technician" and caller.id == row.target_id)
    try:
        if row.target_kind == "job":
            return await _may_read_photo(engine, caller, row)
        return await _may_read_message_file(engine, caller, row)
    except (NotFound, NotMember):
        return False


async def _may_read_photo(engine: Engine, caller: Principal, row: FileRow) -> bool:
    zone, job = parse_job_id(row.target_id)
    try:
        document = (await jobs.read_record(engine, caller, zone, job))[0]
    except NotFound:
        archived = await reader.job(engine.archive, JobId(job))
        if archived is None:
            return False
        document = archived
    view = job_document.decode_job(document)
    if row.id not in {photo.id for photo in view.photos}:
        return row.by == caller.id
    if caller.role == "mediator":
        mediator = await engine.store.command("HGET", keys.job(zone, job), "mediator")
        return view.frozen and mediator == f"mediator:{caller.id}".encode()
    is_customer = caller.role == "customer" and view.customer_id == caller.id
    is_holder = caller.role == "technician" and view.holder_id == caller.id and not view.asked
    return caller.is_ops or is_customer or is_holder


async def _may_read_message_file(engine: Engine, caller: Principal, row: FileRow) -> bool:
    """Return whether the caller may read the message that has the file. If SQL does not have the message's number yet,
    the message is one of the newest of the room.
    """
    if row.client_id is None:
        await rooms.read_own_room(engine, caller, row.target_id)
        return row.by == caller.id
    parse_room_id(row.target_id)
    after = MessageQuery(after=row.n - 1, limit=1) if row.n else MessageQuery(limit=200)
    page = await message_history.list_messages(engine, caller, row.target_id, after)
    said = (msgspec.json.decode(message, type=_Message) for message in page.items)
    return any(isinstance(file, _FileId) and file.id == row.id for message in said for file in message.files)
