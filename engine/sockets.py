"""How many sockets a user has, over all gateways of one Redis, and how many event streams: over the limit of either his
oldest goes, wherever it is.

Each open one holds a *seat*, which its gateway touches; those of a gateway that died fall out within a lease. A new
one is counted in the same step in which the oldest loses its seat and its gateway is told, by an event that clients
never see. (Rejected: asking the gateways; and counting before the connection is let in, which would refuse the phone in
the hand for the sake of the one in the drawer.)

Streams are counted apart: a page with a map open must not cost somebody his socket. A long poll takes no seat: it comes
and goes with each answer, so that counting it would be two calls to Redis where now there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from engine.store import keys
from engine.store.scripts import Args
from engine.types import DEFAULT_ZONE, UserId

if TYPE_CHECKING:
    from engine.runtime import Engine

REPLACED = "session.replaced"
"""To the user of a socket or stream over the limit; ``data`` names its ``session``."""
BATCH = 500
"""Seats in one script call: a longer one would hold up the zone."""


_META = {"meta": keys.meta(DEFAULT_ZONE)}


class Seat(NamedTuple):
    """One of the seats under a key, by its word: when it was taken, and by which session."""

    key: str
    word: str


async def opened(engine: Engine, user: UserId, session: str, most: int, *, streams: bool = False) -> Seat:
    """Count one more of ``user``, of whom ``most`` may be open; gives its seat. May be repeated."""
    zone = DEFAULT_ZONE
    key = keys.streams(zone, user) if streams else keys.sockets(zone, user)
    names = {"meta": keys.meta(zone), "sockets": key, "log": keys.log(zone)}
    args: Args = {"user": user, "session": session, "most": most, "lease_ms": lease_ms(engine)}
    done = await engine.store.run(zone, "socket_open", keys=names, args=args)
    return Seat(key, done.rest[0].decode())


async def closed(engine: Engine, seats: Sequence[Seat]) -> None:
    """Give these back."""
    for batch in _batches(seats):
        await engine.store.run(DEFAULT_ZONE, "socket_close", keys=_META, args={"seats": batch})


async def touch(engine: Engine, seats: Sequence[Seat]) -> None:
    """These are still open."""
    for batch in _batches(seats):
        args: Args = {"lease_ms": lease_ms(engine), "seats": batch}
        await engine.store.run(DEFAULT_ZONE, "socket_touch", keys=_META, args=args)


def _batches(seats: Sequence[Seat]) -> Iterator[list[str]]:
    for start in range(0, len(seats), BATCH):
        yield [part for seat in seats[start : start + BATCH] for part in seat]


def lease_ms(engine: Engine) -> int:
    """How long a seat is held without a touch: three go by each ``ping_s``, and one may be late."""
    return round((3 * engine.settings.ping_s + engine.settings.pong_s) * 1000)
