"""The error words in the replies of Lua scripts (``TAKEN``, ``EXPIRED``, …) as typed errors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.errors import (
    ERROR_OF_REPLY_WORD,
    INTERNAL_ERROR_OF_REPLY_WORD,
    Internal,
    OtherBlueprint,
    ScheduleConflict,
    Unavailable,
)
from engine.events import rfc3339_of


def error_of_reply(reply: Sequence[Any]) -> Exception:
    """Return the typed error for a script's reply word; the caller raises it. ``repeated`` is true if the refusal comes
    from an idempotency record.
    """
    word = reply[0].decode()
    if word == "STALE_EPOCH":
        return Unavailable("the zone's log began a new epoch")
    if word == "OTHER_BLUEPRINT":
        return OtherBlueprint(reply[1].decode())
    if word in INTERNAL_ERROR_OF_REPLY_WORD:
        return INTERNAL_ERROR_OF_REPLY_WORD[word]()
    kind = ERROR_OF_REPLY_WORD.get(word)
    if kind is None:
        return Internal(f"unmapped reply {word}")
    error = kind(repeated=len(reply) > 1 and reply[1] == b"1")
    error.reply = list(reply[2:])
    if isinstance(error, ScheduleConflict):
        start, end = (rfc3339_of(int(each)) for each in error.reply[:2])
        error.extra["conflict"] = {"from": start, "to": end}
    return error
