"""The format of an event in a zone's log, and of the times in it.

Entry id ``<seq>-0``; fields ``type to at actor bp data cause [trace [state]]``. ``data`` is JSON text in the format of
the protocol, so that the relay forwards it without parsing it. ``state`` is for the archive alone
(lua/lib/job_state.lua).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from datetime import UTC, datetime

import msgspec

from engine.types import Zone


class Event(msgspec.Struct, frozen=True, gc=False):
    """An event of a zone's log. ``to`` are channels, ``at`` is ms since the Unix epoch, ``blueprint_key``
    is the key of the job's blueprint ("" = no job), ``cause`` is ``<idempotency key>:<fingerprint>``. ``state`` is what
    the script changed in jobs; only the archiver reads it, so that it takes no memory in gateways.
    """

    zone: Zone
    seq: int
    type: str
    to: tuple[str, ...]
    at: int
    actor: str
    blueprint_key: str
    data: bytes
    cause: str = ""
    trace: str = ""
    state: bytes = b""


_LOG_FIELD_ORDER = [b"type", b"to", b"at", b"actor", b"bp", b"data", b"cause"]


def parse_log_entry(zone: Zone, entry_id: bytes, fields: Sequence[bytes], *, with_state: bool = False) -> Event:
    """Decode an entry of the stream. ``fields`` alternates names and values, in the order in which scripts write them.

    Raises ValueError if no script of Callout wrote the entry: a log that contains a foreign entry must not be relayed.
    """
    if fields[0:14:2] != _LOG_FIELD_ORDER:
        raise ValueError(f"{zone} {entry_id!r}: not an entry of Callout")
    return Event(
        zone,
        int(entry_id[:-2]),  # the id of an entry is <seq>-0
        fields[1].decode(),
        tuple(fields[3].decode().split()),
        int(fields[5]),
        fields[7].decode(),
        fields[9].decode(),
        fields[11],
        fields[13].decode(),
        fields[15].decode() if len(fields) > 15 else "",
        fields[17] if with_state and len(fields) > 17 else b"",
    )


def rfc3339_of(ms: int) -> str:
    """Return ``ms``, milliseconds since the Unix epoch, as an RFC 3339 time in UTC with milliseconds."""
    seconds, rest = divmod(ms, 1000)
    return f"{_rfc3339_without_ms(seconds)}.{rest:03d}Z"


@functools.lru_cache(maxsize=64)
def _rfc3339_without_ms(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}"


@functools.lru_cache(maxsize=4096)
def ms_of(time_text: str) -> int:
    """Return the milliseconds since the Unix epoch of ``time_text``, an RFC 3339 time with an offset. The inverse of
    ``rfc3339_of``. Raises ValueError for any other text.
    """
    moment = datetime.fromisoformat(time_text)
    if moment.tzinfo is None:
        raise ValueError("a time needs an offset or Z")
    return round(moment.timestamp() * 1000)
