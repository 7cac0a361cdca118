"""Notes of bookings in Redis. A note has the zone and the id of a booking's job, and is written before the job is
created. So a booking that is sent again gets the zone and the job of the first time, also if its position is now on the
other side of a border.

The notes belong to a principal and to no zone. They only lead all repeats of a booking to one zone and one id, where
one script decides (lua/job_create.lua). If a process dies between the two steps, the note is there and the job is not;
a repeat then creates the job in the noted zone. A note is valid for a shorter time than the idempotency record in the
zone, so a repeat that finds the note finds the record too.
"""

from __future__ import annotations

import hashlib
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from engine.domain import zones
from engine.errors import CalloutError, Indeterminate, OutOfArea, Unavailable
from engine.store import keys
from engine.store.scripts import Args
from engine.types import IdempotencyKey, JobId, UserId, Zone, new_job_id

if TYPE_CHECKING:
    from engine.runtime import Engine

NOTE_LIFETIME_MS = 86_340_000
"""A minute less than the idempotency record of a booking (lua/lib/idempotency.lua)."""


class BookingNote(NamedTuple):
    """The zone and the job id that were noted for a booking. ``keys`` are the Redis keys of its notes, and
    ``fingerprint`` is the booking's. ``is_sole`` is true if no other request has read or written the notes before."""

    zone: Zone
    job: JobId
    keys: dict[str, str]
    fingerprint: str
    is_sole: bool


async def reserve_job(
    engine: Engine, principal: UserId, key: IdempotencyKey, reference: str | None, fingerprint: str, zone: Zone
) -> BookingNote:
    """Return the noted zone and job id of the booking under ``key`` and ``reference``. If nothing is noted, note
    ``zone`` and a new id.

    Raises ReusedKey if the key belongs to another booking; Unavailable, because without its note no job is created.
    """
    by_key = keys.booking_note(principal, key)
    by_reference = _reference_note(principal, reference) if reference is not None else by_key
    names = {"by_key": by_key, "by_reference": by_reference}
    offered: Args = {"zone": zone, "job": new_job_id(zone), "fingerprint": fingerprint, "lifetime_ms": NOTE_LIFETIME_MS}
    try:
        done = await engine.store.run_for_user("booking_reserve", keys=names, args=offered)
    except Indeterminate as error:
        raise Unavailable(error.detail) from error
    found_zone, job = Zone(done.values[0].decode()), JobId(done.values[1].decode())
    return BookingNote(found_zone, job, names, fingerprint, is_sole=done.values[2] == b"1")


async def choose_zone(
    engine: Engine, principal: UserId, key: IdempotencyKey, reference: str | None, place: tuple[float, float]
) -> Zone:
    """Return the zone of a booking for ``place`` (latitude, longitude). If the place is outside all zones, a repeat
    gets the zone that was noted the first time.

    Raises OutOfArea for a new booking outside all zones.
    """
    try:
        return zones.zone_of_place(engine, *place)
    except OutOfArea:
        names = [keys.booking_note(principal, key)]
        names += [_reference_note(principal, reference)] if reference is not None else []
        for name in names:
            if noted := await engine.store.command("GET", name):
                return Zone(noted.decode().partition(" ")[0])
        raise


async def release_job(engine: Engine, note: BookingNote) -> None:
    """Delete the notes of a booking that was refused, so that a corrected one may go to another zone. If this fails, or
    if another request has read them, they stay until they expire: then a corrected booking goes to the noted zone.
    """
    if note.is_sole:
        args = {"zone": note.zone, "job": note.job, "fingerprint": note.fingerprint}
        with suppress(CalloutError):
            await engine.store.run_for_user("booking_release", keys=note.keys, args=args)


async def forget_reference(engine: Engine, principal: UserId, reference: str) -> None:
    """Delete the note of a reference whose job is archived: SQL has it. Raises Unavailable, Indeterminate."""
    await engine.store.command("DEL", _reference_note(principal, reference))


def _reference_note(principal: UserId, reference: str) -> str:
    """Return the key of a reference's note. It has a digest, because a reference may contain personal data, and an
    erasure does not look for this key.
    """
    return keys.booking_reference_note(principal, hashlib.blake2b(reference.encode(), digest_size=16).hexdigest())
