"""Error replies of Redis as typed errors."""

from __future__ import annotations

from engine.errors import Unavailable

_NOT_LOADED_REPLY = "ERR Function not found"

UNAVAILABLE_REPLIES = (
    "ASK",
    "LOADING",
    "BUSY",
    "OOM",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "MISCONF",
    "MOVED",
    "NOREPLICAS",
    "TRYAGAIN",
    "NOPERM",
    "NOAUTH",
)
"""Redis error codes that guarantee that nothing was done (DESIGN §4)."""

WRITE_REFUSED_REPLIES = ("MISCONF", "NOREPLICAS", "OOM")
"""The codes among ``UNAVAILABLE_REPLIES`` that a Redis server returns if reads are still possible but writes are not:
the server's disk or memory is full, or too few replicas follow the server.
"""


class ErrorReply(Exception):
    """Raised for an error reply of Redis that does not mean that Redis is unavailable: a bug in the engine."""


class LibraryNotLoaded(Unavailable):
    """Raised when Redis does not have the function, because another release deleted this release's library or an
    operator flushed all libraries. Nothing was done.
    """


class Moved(Unavailable):
    """Raised when another node of a cluster has the key's slot. Nothing was done. ``host`` is "" if the node that
    replied does not know it. ``asks``: only this command is sent there, because the slot is about to move.
    """

    def __init__(self, error_text: str) -> None:
        super().__init__(error_text)
        word, slot, address = error_text.split()[:3]
        self.asks = word == "ASK"
        self.slot = int(slot)
        host, _, port = address.rpartition(":")
        self.host, self.port = host, int(port)


def parse_error_reply(error_text: str) -> Exception:
    """Return the typed error for an error reply of Redis."""
    if error_text.startswith(_NOT_LOADED_REPLY):
        return LibraryNotLoaded(error_text)
    if error_text.startswith(("MOVED ", "ASK ")):
        return Moved(error_text)
    if error_text.partition(" ")[0] in UNAVAILABLE_REPLIES:
        return Unavailable(error_text)
    return ErrorReply(error_text)
