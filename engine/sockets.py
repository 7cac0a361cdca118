"""How many sockets a user has, over all gateways of one Redis: over the limit his oldest goes, wherever it is.

Each open socket holds a *seat*, which its gateway touches; those of a gateway that died fall out within a lease. A new
one is counted in the same step in which the oldest loses its seat and its gateway is told, by an event that clients
never see. (Rejected: asking the gateways; and counting before the connection is let in, which would refuse the phone in
the hand for the sake of the one in the drawer.)
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from engine.store import keys
from engine.types import DEFAULT_ZONE, UserId

if TYPE_CHECKING:
    from engine.runtime import Engine

REPLACED = "session.replaced"
"""To the user of a socket over the limit; ``data`` names its ``session``."""
BATCH = 500
"""Seats in one script call: a longer one would hold up the zone."""
Seat = tuple[UserId, str]


async def opened(engine: Engine, user: UserId, session: str, most: int) -> str:
    """Count one more of ``user``, of whom ``most`` may be open; gives its seat. May be repeated."""
    zone = DEFAULT_ZONE
    names = [keys.meta(zone), keys.sockets(zone, user), keys.log(zone)]
    done = await engine.store.call(zone, "socket_open", names, [user, session, most, lease_ms(engine)])
    return done.rest[0].decode()


async def closed(engine: Engine, seats: Collection[Seat]) -> None:
    """Give these back."""
    for batch in _batches(seats):
        await engine.store.call(DEFAULT_ZONE, "socket_close", [keys.meta(DEFAULT_ZONE)], batch)


async def touch(engine: Engine, seats: Collection[Seat]) -> None:
    """These are still open."""
    for batch in _batches(seats):
        await engine.store.call(DEFAULT_ZONE, "socket_touch", [keys.meta(DEFAULT_ZONE)], [lease_ms(engine), *batch])


def _batches(seats: Collection[Seat]) -> Iterator[list[str]]:
    held = list(seats)
    for start in range(0, len(held), BATCH):
        some = held[start : start + BATCH]
        yield [part for user, seat in some for part in (keys.sockets(DEFAULT_ZONE, user), seat)]


def lease_ms(engine: Engine) -> int:
    """How long a seat is held without a touch: three go by each ``ping_s``, and one may be late."""
    return round((3 * engine.settings.ping_s + engine.settings.pong_s) * 1000)
