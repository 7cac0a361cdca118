"""Find in SQL the data of a person who is erased: their jobs, the texts that identify them (name, addresses, notes),
and the events with such data.
"""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Select, or_, select, union
from sqlalchemy.ext.asyncio import AsyncConnection

from engine.rules.redaction import Person
from engine.sql.database import Archive
from engine.sql.quote_tables import quotes
from engine.sql.room_tables import messages, room_members, rooms
from engine.sql.schema import bids, checkpoints, event_channels, events, events_refused, jobs, offers, users
from engine.types import UserId, Zone

BATCH_SIZE = 500
MIN_NOTE_LENGTH = 20
"""The least length of a note that identifies a person. Other people may write the same short note."""


class _KnownJob(msgspec.Struct):
    """The members of a job that identify its customer and its technician."""

    customer: dict[str, Any] | None = None
    technician: dict[str, Any] | None = None
    address: str | None = None
    notes: str | None = None
    public_notes: str | None = None


_known_job_decoder = msgspec.json.Decoder(_KnownJob)


async def read_person(archive: Archive, user: UserId, known: list[str]) -> Person:
    """Return the person: their ids and the texts that identify them. ``known`` are the texts that were found before a
    part was erased.
    """
    async with archive.begin_read() as conn:
        booked = set((await conn.execute(select(jobs.c.id).where(jobs.c.customer == user))).scalars())
        worked: set[str] = set()
        for column, owner in (
            (jobs.c.id, jobs.c.technician),
            (offers.c.job, offers.c.technician),
            (bids.c.job, bids.c.technician),
        ):
            worked |= set((await conn.execute(select(column).where(owner == user))).scalars())
        texts = {*known, *await _texts_of_account(conn, user)}
        query = select(jobs.c.doc).where(or_(jobs.c.customer == user, jobs.c.technician == user))
        for doc in (await conn.execute(query)).scalars():
            texts |= _texts_of_job(doc, user)
    found = tuple(sorted(text for text in texts if text))
    return Person(id=user, booked=frozenset(booked), worked=frozenset(worked - booked), texts=found)


async def _texts_of_account(conn: AsyncConnection, user: UserId) -> set[str]:
    columns = users.c
    query = select(columns.email, columns.email_typed, columns.name, columns.phone).where(columns.id == user)
    row = (await conn.execute(query)).one_or_none()
    names = (await conn.execute(select(room_members.c.name).where(room_members.c.user == user).distinct())).scalars()
    own = {row.email, row.email_typed or "", row.name, row.phone or ""} if row else set()
    return {*own, *names} - {erased_address(user)}


def _texts_of_job(doc: str, user: UserId) -> set[str]:
    job = _known_job_decoder.decode(doc)
    parties = [party for party in (job.customer, job.technician) if party and party.get("id") == user]
    texts = {str(party.get("name") or "") for party in parties}
    if job.customer is None or job.customer.get("id") != user:
        return texts
    notes = (text for text in (job.notes, job.public_notes) if text and len(text) >= MIN_NOTE_LENGTH)
    return texts | {job.address or "", *notes}


def erased_address(user: UserId) -> str:
    """Return the text that replaces the e-mail address of an erased account. It is unique, as the column of addresses
    requires.
    """
    return f"{user}@erased.invalid".lower()


async def read_zones(archive: Archive) -> list[Zone]:
    """Return the zones that have archived events."""
    async with archive.begin_read() as conn:
        return [Zone(zone) for zone in (await conn.execute(select(checkpoints.c.zone))).scalars()]


async def find_seqs(archive: Archive, zone: Zone, person: Person, *, with_quarantine: bool = False) -> list[int]:
    """Return the seqs of a zone's events that may contain the person's data: those addressed to them or to their rooms,
    those of their jobs, and those of their quotes and messages. With ``with_quarantine``, all events in quarantine are
    included, because they have no channels. The seqs are in the log's order.
    """
    own_rooms = select(room_members.c.room).where(room_members.c.user == person.id)
    channel = event_channels.c.channel
    in_rooms = channel.in_(select("room:" + room_members.c.room).where(room_members.c.user == person.id))
    addressed = select(event_channels.c.seq).where(
        event_channels.c.zone == zone, or_(channel == f"user:{person.id}", in_rooms)
    )
    own_messages = select(messages.c.seq).join(rooms, rooms.c.id == messages.c.room)
    said = own_messages.where(rooms.c.zone == zone, messages.c.room.in_(own_rooms))
    quoted = select(quotes.c.seq).where(quotes.c.zone == zone, quotes.c.customer == person.id)
    quarantined = select(events_refused.c.seq).where(events_refused.c.zone == zone)
    queries: list[Select[Any]] = [addressed, said, quoted, *([quarantined] if with_quarantine else [])]
    found: set[int] = set()
    related = sorted(person.booked | person.worked)
    async with archive.begin_read() as conn:
        found |= set((await conn.execute(union(*queries))).scalars())
        for start in range(0, len(related), BATCH_SIZE):
            of_jobs = events.c.job.in_(related[start : start + BATCH_SIZE])
            query = select(events.c.seq).where(events.c.zone == zone, of_jobs)
            found |= set((await conn.execute(query)).scalars())
    return sorted(found)
