"""The leaves of the audit tree.

A leaf is SHA-256(0x00 ‖ entry). The entry is a compact JSON array, in UTF-8 and as JavaScript's ``JSON.stringify``
writes it: ``[zone, seq, at, type, actor, job, request key, hex SHA-256(salt ‖ to ‖ 0x00 ‖ data)]``. ``job`` is null for
an event of no job, and the request key is "" for an event without one. ``to`` is the list of channels as the log has
it, separated by spaces, and ``data`` is the event's JSON. So the leaf commits to receivers and content, and reveals
nothing about them without the salt, which is 16 random bytes for each event.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from hashlib import sha256
from operator import itemgetter
from typing import Any, NamedTuple

import msgspec

SALT_BYTES = 16
HOLE_TYPE = "log.hole"
"""The type in the leaf of a seq that was accepted as lost. Such a leaf stands for no event: its ``at`` is 0, its
``actor`` is ``engine``, and ``to`` and ``data`` are empty."""

_encode = msgspec.json.encode


class Entry(NamedTuple):
    """The content of the leaf of one event, without the zone and the salt. ``cause`` is
    ``<request key>:<fingerprint>``; only the key is part of the leaf.
    """

    seq: int
    at: int
    type: str
    actor: str
    job: str | None
    cause: str
    to: str
    data: str


class _QuarantinedEvent(msgspec.Struct):
    """The members of an event in quarantine that its leaf needs. ``data`` is text, as the quarantine stores it."""

    seq: int
    type: str
    to: list[str]
    at: int
    actor: str
    data: str
    cause: str = ""


_quarantined_decoder = msgspec.json.Decoder(_QuarantinedEvent)


EntryFields = tuple[int, int, str, str, str | None, str, str, str]
"""The fields of an Entry as a plain tuple: the archiver and the verification of a whole database are faster without an
Entry for each event."""


def leaf_of(zone: str, entry: Entry | EntryFields, salt: bytes) -> bytes:
    """Return the leaf of an entry with its salt."""
    seq, at, kind, actor, job, cause, to, data = entry
    content = sha256(salt + f"{to}\0{data}".encode()).hexdigest()
    return sha256(b"\0" + _encode((zone, seq, at, kind, actor, job, cause.partition(":")[0], content))).digest()


entry_of_row: Callable[[Mapping[str, Any]], EntryFields] = itemgetter(*Entry._fields)
"""Returns the entry of a row of the table ``events``."""


def entry_of_quarantined(stored: bytes) -> Entry:
    """Return the entry of an event that is only in quarantine, from its JSON in ``events_refused``."""
    event = _quarantined_decoder.decode(stored)
    return Entry(event.seq, event.at, event.type, event.actor, None, event.cause, " ".join(event.to), event.data)


def hole_entry(seq: int) -> Entry:
    """Return the entry of a seq that was accepted as lost."""
    return Entry(seq, 0, HOLE_TYPE, "engine", None, "", "", "")


def new_salts(count: int) -> list[bytes]:
    """Return ``count`` random salts. One system call for all salts is faster than one for each."""
    random = os.urandom(count * SALT_BYTES)
    return [random[at : at + SALT_BYTES] for at in range(0, len(random), SALT_BYTES)]
