"""Decide who may read a file: the users who may read the object to which it is attached, at the time of the request.

A photo of a job: the job's customer, its holder once they have accepted, ops, and the mediator of its open dispute. A
file of a message: the users who may read the message. A document: its technician and the staff who review technicians.
A file that is not attached yet: the user who uploaded it. All others receive ``not_found``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from engine.archive import reader, room_reader
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


NEWEST = 200
"""How many of the newest messages of a room may not be in SQL yet."""


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
    """Return whether the caller may read a message that has the file. Several messages may have it, and the row names
    one of them.
    """
    if row.client_id is None:
        await rooms.read_own_room(engine, caller, row.target_id)
        return row.by == caller.id
    _, room = parse_room_id(row.target_id)
    for query in _places(row):
        if await _is_in_messages(engine, caller, row, query):
            return True
    numbers = await room_reader.numbers_of_file(engine.archive, room, row.id)
    others = (MessageQuery(after=number - 1, limit=1) for number in numbers if number != row.n)
    for query in others:
        if await _is_in_messages(engine, caller, row, query):
            return True
    return False


def _places(row: FileRow) -> list[MessageQuery]:
    """Return where the message is: it has the number that SQL knows, or is among the newest of the room."""
    newest = MessageQuery(limit=NEWEST)
    return [MessageQuery(after=row.n - 1, limit=1), newest] if row.n else [newest]


async def _is_in_messages(engine: Engine, caller: Principal, row: FileRow, query: MessageQuery) -> bool:
    page = await message_history.list_messages(engine, caller, row.target_id, query)
    said = (msgspec.json.decode(message, type=_Message) for message in page.items)
    return any(isinstance(file, _FileId) and file.id == row.id for message in said for file in message.files)
