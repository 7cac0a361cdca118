"""The contents of Redis keys, as a rebuild computes them from SQL and as a test reads them from a server.

A ``KeyContent`` is what one key has. ``Contents`` has the keys of a part of a zone; two parts may contribute to the
same hash, set or zset, for example two jobs to ``due``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

KeyKind = Literal["string", "hash", "zset", "set", "list", "stream", "geo"]

ADDITIVE_KINDS = frozenset({"hash", "zset", "set", "geo"})
"""The kinds of keys to which several parts of a zone may contribute. The order of their members has no meaning."""


class GeoPoint(NamedTuple):
    """A member's position in a geo index, as the text that a script passes to GEOADD: the same text gives the same
    score."""

    lat: str
    lon: str


class StreamEntry(NamedTuple):
    """An entry of a stream: its id (``<number>-0``) and its fields in order, name and value alternating."""

    id: str
    fields: tuple[str, ...]


class KeyContent(NamedTuple):
    """The content of one key. ``value`` depends on ``kind``:

    ======  =======================================================================
    string  the text
    hash    field → text
    zset    member → score, as text (``1732967000123``; an integer has no ``.0``)
    set     a frozenset of members
    list    a tuple of elements, the first one (LINDEX 0) first
    stream  a tuple of ``StreamEntry``, the oldest first
    geo     member → ``GeoPoint``
    ======  =======================================================================

    ``expires_at`` is the Unix time in ms at which the key ends, or None if it has no TTL.
    """

    kind: KeyKind
    value: str | Mapping[str, str] | Mapping[str, GeoPoint] | frozenset[str] | tuple[str, ...] | tuple[StreamEntry, ...]
    expires_at: int | None = None


Contents = dict[str, KeyContent]
"""Redis key → its content. A key without members does not exist, so it is not in here."""


class ContentConflict(Exception):
    """Raised when two parts of a zone contribute to a key in ways that exclude each other. It is a bug of the parts."""


def merge(contents: Contents, more: Contents) -> None:
    """Add ``more`` to ``contents``: keys of the same hash, set, zset or geo index are joined.

    Raises ContentConflict if both have the key with different kinds or ends, with different values of one member, or
    if the kind of the key has only one writer.
    """
    for key, content in more.items():
        before = contents.get(key)
        contents[key] = content if before is None else _join(key, before, content)


def _join(key: str, before: KeyContent, more: KeyContent) -> KeyContent:
    if before == more:
        return before
    if before.kind != more.kind or before.expires_at != more.expires_at or before.kind not in ADDITIVE_KINDS:
        raise ContentConflict(f"{key}: {before.kind} and {more.kind} cannot be joined")
    if isinstance(before.value, frozenset) and isinstance(more.value, frozenset):
        return before._replace(value=before.value | more.value)
    if not isinstance(before.value, Mapping) or not isinstance(more.value, Mapping):
        raise ContentConflict(f"{key}: the value is no {before.kind}")
    different = {name for name in before.value.keys() & more.value.keys() if before.value[name] != more.value[name]}
    if different:
        raise ContentConflict(f"{key}: two values of {sorted(different)[:3]}")
    joined: Any = {**before.value, **more.value}
    return before._replace(value=joined)
