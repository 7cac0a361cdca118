"""Erase a person's data from all SQL tables except the events. engine/sql/erasure_declarations.py declares what happens
to each column.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, delete, or_, select, true, tuple_, update
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.archive.person_reader import BATCH_SIZE, erased_address
from engine.archive.projection import FINISHED_PHASES
from engine.files import file_rows
from engine.rules.emails import registrant
from engine.rules.redaction import Person, redact_object, redact_state, redact_text
from engine.sql.database import Archive
from engine.sql.device_tables import devices
from engine.sql.file_tables import files
from engine.sql.job_tables import job_states
from engine.sql.path_tables import job_paths
from engine.sql.quote_tables import quotes
from engine.sql.room_tables import messages, room_members, rooms
from engine.sql.schema import (
    bids,
    idempotency_records,
    job_references,
    jobs,
    notification_reads,
    notifications,
    offers,
    outbox,
    payments,
    positions,
    ratings,
    sessions,
    technician_services,
    technicians,
    users,
)
from engine.sql.technician_tables import technician_hours, technician_states
from engine.sql.vault_tables import receipts
from engine.types import JobId, room_of

TextChange = Callable[[str], str]


async def erase_rows(archive: Archive, person: Person) -> None:
    """Erase the person's data in all rows but their account. Raises the same errors as ``Archive.begin_write``."""
    own = person.id
    own_rooms = select(room_members.c.room).where(room_members.c.user == own)
    documents: list[tuple[Table, ColumnElement[bool]]] = [
        (jobs, or_(jobs.c.customer == own, jobs.c.technician == own)),
        (bids, bids.c.technician == own),
        (quotes, quotes.c.customer == own),
        (rooms, rooms.c.id.in_(own_rooms)),
        (messages, messages.c.room.in_(own_rooms)),
    ]
    for table, condition in documents:
        await _change_texts(archive, table, ("doc",), condition, lambda text: redact_object(person, text))
    for batch in _batches(person.booked | person.worked):
        for table in (payments, bids):
            of_jobs = table.c.job.in_(batch)
            await _change_texts(archive, table, ("doc",), of_jobs, lambda text: redact_object(person, text))
        await _change_texts(
            archive,
            notifications,
            ("title", "body"),
            notifications.c.job.in_(batch),
            lambda text: redact_text(person, text, is_notice=True),
        )
        await _change_texts(
            archive, job_states, ("state",), job_states.c.job.in_(batch), lambda text: redact_state(person, text)
        )
        await _change_texts(
            archive, offers, ("reason",), offers.c.job.in_(batch), lambda text: redact_text(person, text)
        )
    await _erase_files(archive, person)
    await _erase_receipts(archive, person)
    await _change_texts(archive, ratings, ("comment",), ratings.c.of == own, lambda text: redact_text(person, text))
    names_person = idempotency_records.c.body.contains(own, autoescape=True)
    await _change_texts(archive, idempotency_records, ("body",), names_person, lambda text: redact_object(person, text))
    async with archive.begin_write() as conn:
        await _erase_own_rows(conn, person)


async def _erase_own_rows(conn: AsyncConnection, person: Person) -> None:
    """Delete the rows that concern only the person, and empty the person's columns in rows that stay."""
    own = person.id
    for table, owner in (
        (sessions, sessions.c.user),
        (devices, devices.c.user),
        (positions, positions.c.technician),
        (technician_services, technician_services.c.technician),
        (technician_states, technician_states.c.technician),
        (technician_hours, technician_hours.c.technician),
        (notifications, notifications.c.user),
        (notification_reads, notification_reads.c.user),
        (job_references, job_references.c.principal),
        (job_paths, job_paths.c.technician),
        (idempotency_records, idempotency_records.c.principal),
    ):
        await conn.execute(delete(table).where(owner == own))
    emails = [registrant(text) for text in person.texts]
    await conn.execute(delete(idempotency_records).where(idempotency_records.c.principal.in_(emails)))
    for batch in _batches(person.booked):
        await conn.execute(delete(job_paths).where(job_paths.c.job.in_(batch)))
        await conn.execute(delete(job_references).where(job_references.c.job.in_(batch)))
        finished = select(jobs.c.id).where(jobs.c.id.in_(batch), jobs.c.phase.in_(FINISHED_PHASES))
        await conn.execute(delete(job_states).where(job_states.c.job.in_(finished)))
        await conn.execute(update(jobs).where(jobs.c.id.in_(batch)).values(reference=None))
    await conn.execute(update(ratings).where(ratings.c.by == own).values(comment=None))
    await conn.execute(update(offers).where(offers.c.technician == own).values(reason=None))
    await conn.execute(update(room_members).where(room_members.c.user == own).values(name=""))
    await conn.execute(update(technicians).where(technicians.c.id == own).values(reason=None))
    await conn.execute(update(outbox).where(outbox.c.user == own).values(review=None))


async def _erase_files(archive: Archive, person: Person) -> None:
    """Delete the files that the person uploaded. Also delete all photos of the jobs that they booked and all files of
    the chats about these jobs, because they may show the person's home. A background task deletes the bytes.
    """
    async with archive.begin_write() as conn:
        await file_rows.delete_rows(conn, archive, files.c.by == person.id)
        for batch in _batches(person.booked):
            targets = [f"job:{job}" for job in batch] + [f"room:{room_of(JobId(job))}" for job in batch]
            await file_rows.delete_rows(conn, archive, files.c.target.in_(targets))


async def _erase_receipts(archive: Archive, person: Person) -> None:
    """Delete the record, name and image from the receipts that the person signed. The signed digests stay, and a chore
    deletes the bytes of the images.
    """
    own = receipts.c.customer == person.id
    async with archive.begin_write() as conn:
        named = select(receipts.c.image).where(own, receipts.c.image.is_not(None))
        await file_rows.release_blobs(conn, archive, list((await conn.execute(named)).scalars()))
        await conn.execute(update(receipts).where(own).values(record=None, name=None, salt=None, image=None))


async def erase_account(conn: AsyncConnection, person: Person) -> None:
    """Empty the person's account. Its id stays, as a pseudonym in the rows of other people. Call this last, because all
    other steps read the person's name and addresses from the account.
    """
    empty = {"email_typed": None, "name": "", "phone": None, "reason": None, "password_hash": "", "active": False}
    change = update(users).where(users.c.id == person.id)
    address = erased_address(person.id)
    await conn.execute(change.values(email=address, version=users.c.version + 1, **empty))
    technician = update(technicians).where(technicians.c.id == person.id)
    await conn.execute(technician.values(version=technicians.c.version + 1))


async def _change_texts(
    archive: Archive, table: Table, names: tuple[str, ...], condition: ColumnElement[bool], change: TextChange
) -> None:
    """Apply ``change`` to text columns of the rows, a page at a time."""
    key = list(table.primary_key.columns)
    columns = [table.c[name] for name in names]
    last: tuple[Any, ...] | None = None
    while True:
        after = tuple_(*key) > last if last else true()
        query = select(*key, *columns).where(condition, after).order_by(*key).limit(BATCH_SIZE)
        async with archive.begin_read() as conn:
            rows = (await conn.execute(query)).all()
        changed = []
        for row in rows:
            old = row[len(key) :]
            new = [text if text is None else change(text) for text in old]
            if list(old) != new:
                changed.append((row[: len(key)], dict(zip(names, new, strict=True))))
        if changed:
            async with archive.begin_write() as conn:
                for values, new_texts in changed:
                    same = and_(*(column == value for column, value in zip(key, values, strict=True)))
                    await conn.execute(update(table).where(same).values(**new_texts))
        if len(rows) < BATCH_SIZE:
            return
        last = tuple(rows[-1][: len(key)])


def _batches(ids: frozenset[str]) -> list[list[str]]:
    ordered = sorted(ids)
    return [ordered[start : start + BATCH_SIZE] for start in range(0, len(ordered), BATCH_SIZE)]
